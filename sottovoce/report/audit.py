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
    get = found.get
    kinds, leaks = get("kinds") or (), get("leaks") or 0
    sides = ("train", "dev", "test")
    return page.render(
        "audit.html", found, first=f"{words.count(leaks, 'leak')} found." if leaks else None,
        tiles=[("leaks", number(leaks), "pairs of a tested and a seen side"),
               ("recordings", number(get("recordings")), "compared by bytes, samples and fingerprint"),
               ("folds", number(len(get("parts") or ())), "and every run that is named")],
        kinds=[(k["kind"], k["means"], number(k["leaks"]), number(k["told"])) for k in kinds],
        examples=[(k["kind"], example) for k in kinds for example in k["examples"]],
        parts=[(f"{p['corpus']} {p['fold']}", p["apart_by"], *(_part(p, side) for side in sides), p["texts"] or NOTHING)
               for p in get("parts") or ()],
        seen=[(s["run"], s["kind"], s["fold"], s.get("init") or NOTHING, words.listed(*(s.get("against") or ())),
               number(s["seen_people"]), number(s["seen_recordings"]), s.get("labels") or NOTHING,
               number(s.get("dev_readings")), number(s.get("test_readings")), number(bool(s.get("transductive"))))
              for s in get("seen") or ()],
        licences=list((get("licences") or {}).items()),
    )  # fmt: skip


def _part(part: Mapping[str, Any], side: str) -> str:
    return f"{number(part[side])} of {words.count(part[f'{side}_people'], 'person', 'people')}"
