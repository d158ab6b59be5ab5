"""Who and what is on both sides of a split."""

from collections.abc import Mapping
from typing import Any

from sottovoce.report import page, words
from sottovoce.report.words import NOTHING, number


def audit_page(found: Mapping[str, Any]) -> str:
    """What leaks, what was looked at, and what it may be used for.

    Keys: title, leaks, recordings, kinds [{kind, means, leaks, told, examples}], parts [{corpus, fold, apart_by, train,
    dev, test, ..._people, texts}], seen [{run, kind, fold, init, against, seen_people, seen_recordings, labels,
    dev_readings, test_readings, transductive}], licences {what: licence}, seconds, hardware.
    """
    return page.render(
        "audit.html", found,
        examples=[(k["kind"], example) for k in found.get("kinds") or () for example in k["examples"]],
        parts=[(f"{p['corpus']} {p['fold']}", p["apart_by"], *(_part(p, side) for side in ("train", "dev", "test")),
                p["texts"] or NOTHING) for p in found.get("parts") or ()],
        seen=[(s["run"], s["kind"], s["fold"], s.get("init") or NOTHING, words.listed(*(s.get("against") or ())),
               number(s["seen_people"]), number(s["seen_recordings"]), s.get("labels") or NOTHING,
               number(s.get("dev_readings")), number(s.get("test_readings")), number(bool(s.get("transductive"))))
              for s in found.get("seen") or ()],
    )  # fmt: skip


def _part(part: Mapping[str, Any], side: str) -> str:
    return f"{number(part[side])} of {words.count(part[f'{side}_people'], 'person', 'people')}"
