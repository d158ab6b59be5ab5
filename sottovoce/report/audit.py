"""Who and what is on both sides of a split."""

from collections.abc import Mapping
from typing import Any

from sottovoce.report import page, words
from sottovoce.report.known import known


def audit_page(found: Mapping[str, Any]) -> str:
    """What leaks, what was looked at, and what it may be used for.

    Keys: title, leaks, recordings, kinds [{kind, means, leaks, told, examples}], parts [{corpus, fold, apart_by, train,
    dev, test, ..._people, texts}], seen [{run, kind, fold, init, against, seen_people, seen_recordings, labels,
    dev_readings, test_readings, transductive}], licences {what: licence}, seconds, hardware.
    """
    found = known(found)
    return page.render(
        "audit.html", found,
        examples=[(k["kind"], example) for k in found["kinds"] for example in k["examples"]],
        parts=[(f"{p['corpus']} {p['fold']}", p["apart_by"],
                *(f"{words.number(p[side])} of {words.count(p[f'{side}_people'], 'person', 'people')}"
                  for side in ("train", "dev", "test")), p["texts"]) for p in found["parts"]],
    )  # fmt: skip
