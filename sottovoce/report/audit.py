"""Who and what is on both sides of a split."""

from collections.abc import Mapping
from typing import Any

from sottovoce.report import page
from sottovoce.report.known import known


def audit_page(found: Mapping[str, Any]) -> str:
    """What leaks, what was looked at, and what it may be used for.

    Keys: title, leaks, recordings, kinds [{kind, means, leaks, told, examples}], parts [{corpus, fold, apart_by, train,
    dev, test, ..._people, texts}], seen [{run, kind, fold, init, against, seen_people, seen_recordings, labels,
    dev_readings, test_readings, transductive}], licences {what: licence}, seconds, hardware.
    """
    examples = [(kind["kind"], example) for kind in known(found)["kinds"] for example in kind["examples"]]
    return page.render("audit.html", found, examples=examples)
