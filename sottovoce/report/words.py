"""What several pages say in the same words: numbers, counts, scores and what they mean."""

import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from markupsafe import Markup

from sottovoce.metrics import scores

NOTHING = "–"  # what is printed for None, NaN and infinity
INTERVAL = "The thick line is the 95 % interval"
NO_INTERVAL = "No intervals: fewer than four speakers tell nothing about the next one"
METRICS = {
    **{"wa": "WA", "ua": "UA", "macro_f1": "macro-F1", "f1": "F1", "f1w": "weighted F1", "wacc": "weighted accuracy"},
    **{"mae": "MAE", "ccc": "CCC", "pcc": "PCC", "acc2": "2-class accuracy", "acc4": "4-class accuracy"},
    **{"ece": "calibration error", "right_of_answered": "right of what is answered"},
    **{"acc7": "7-class accuracy", "per": "PER", "auc": "AUC", "spearman": "Spearman"},
}
MEANING = {
    "wa": "share of all utterances that are right",
    "ua": "mean of the class recalls: every emotion counts the same",
    "macro_f1": "mean F1 over the classes",
    "mae": "mean absolute error, in label units; lower is better",
    "acc4": "intensities rounded to 0, 1, 2, 3 that are right",
    "per": "edits over reference phones; lower is better",
    "acc2": "sign of the sentiment that is right",
    "acc7": "sentiment rounded to −3 … 3 that is right",
    "wacc": "presence of an emotion, both sides weighted the same",
    "f1": "F1 of the presence of an emotion",
    "f1w": "F1 of the presence of an emotion, weighted by class",
    "ccc": "concordance correlation, 1 is perfect",
}
GLOSSARY = MEANING | {
    "recall": "of the utterances of a class, the share that is recognised: TP / (TP + FN)",
    "precision": "of the utterances recognised as a class, the share that is right: TP / (TP + FP)",
    "f1": "2 TP / (2 TP + FP + FN): of a class, or of the presence of an emotion",
    "wa": "weighted accuracy: the share of all utterances that are right; 0 to 1",
    "ua": "unweighted average recall: the mean of the class recalls; 0 to 1, chance is 1 / number of classes",
    "macro_f1": "the mean of the classes' F1; 0 to 1",
    "ccc": "concordance correlation, 2 cov / (var + var + (difference of the means)²); −1 to 1, 1 is perfect",
    "pcc": "Pearson's correlation; −1 to 1, blind to scale and offset",
}


def glossary(names: Iterable[str]) -> list[tuple[str, str]]:
    """What the scores mean of which some, also of a single class, are on a page; and what an interval is.

    >>> [name for name, _ in glossary(["ua", "recall_sad", "recall_happy"])]
    ['UA', 'recall', '95 % interval']
    """
    stems = dict.fromkeys(name if name in GLOSSARY else name.split("_")[0] for name in names)
    found = [(metric_name(stem), GLOSSARY[stem]) for stem in stems if stem in GLOSSARY]
    interval = "where the score of new speakers is to be expected, over whole speakers; none with fewer than four"
    return [*found, ("95 % interval", interval)] if found else []


def text(value: Any) -> str:
    """Any value as one printable line: control characters and broken file-name bytes cannot harm a page or a figure.

    >>> text("a\\x00b\\ud800\\n c")
    'a b?  c'
    """
    line = str(value).encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() or c == "\xa0" else " " for c in line)


def number(value: Any, digits: int = 3, *, fixed: bool = False) -> str:
    """A number for people: at most `digits` decimals, thousands apart; nothing that is not finite.

    >>> number(1440), number(2.5), number(0.62, fixed=True), number(-0.0001), number(float("nan")), number(None)
    ('1,440', '2.5', '0.620', '0', '–', '–')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}".replace("-", "−")
    if not isinstance(value, Real) or not math.isfinite(value):
        return NOTHING
    out = f"{round(float(value), digits) + 0.0:,.{digits}f}"  # + 0.0 makes -0.0 a plain zero
    if not fixed and "." in out:
        out = out.rstrip("0").rstrip(".")
    return out.replace("-", "−")


def duration(seconds: Any) -> str:
    """Seconds in the units one would say.

    >>> duration(4.25), duration(252), duration(3780)
    ('4.2 s', '4 min 12 s', '1 h 3 min')
    """
    if not math.isfinite(number_of(seconds)):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float, hours: bool = False) -> str:
    """
    >>> clock(75), clock(3675, True)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def glue(line: Any) -> Any:
    """Spaces that may not break: between a number and its unit, around the equals sign of "n = 5"."""
    if not isinstance(line, str):
        return line
    return type(line)(re.sub(r"(?<=\d) (?=(?:%|s|h|min)(?!\w))|(?<=\bn) (?==)|(?<=\bn =) ", "\xa0", line))


def number_of(entry: Any, part: str = "value") -> float:
    """`part` of {"value", "low", "high"}, or of a plain number; NaN where there is none."""
    found = entry.get(part) if isinstance(entry, Mapping) else entry if part == "value" else None
    return float(found) if isinstance(found, Real) else math.nan


def three(entry: Any, part: str = "value") -> str:
    """A score as it is printed everywhere: three decimals."""
    return number(number_of(entry, part), fixed=True)


def score(entry: Any) -> Markup:
    """A value and its interval, "0.621 [0.586, 0.655]"."""
    low, high = three(entry, "low"), three(entry, "high")
    return Markup(three(entry)) + ("" if NOTHING in (low, high) else aside(f"[{low}, {high}]"))


def aside(said: Any) -> Markup:
    """What stands next to a number in a cell, smaller."""
    return Markup('<span class="range"> {}</span>').format(text(said))


def percent(share: Any, digits: int = 0) -> str:
    return NOTHING if not math.isfinite(number_of(share)) else f"{number(100 * number_of(share), digits)} %"


def listed(*parts: Any, mark: str = " · ") -> str:
    return mark.join(text(part) for part in parts if part)


def count(n: Any, one: str, many: str | None = None) -> str:
    return f"{number(n)} {one if n == 1 else many or one + 's'}" if isinstance(n, Real) else ""


def genders(counts: Mapping[Any, Any]) -> str:
    """
    >>> genders({"female": 3, "unknown": 5}), genders({"unknown": 8})
    ('3 female, 5 of unknown gender', 'gender unknown')
    """
    known = [f"{number(n)} {text(name)}" for name, n in counts.items() if name not in ("", "unknown")]
    rest = sum(n for name, n in counts.items() if name in ("", "unknown"))
    return listed(*known, f"{number(rest)} of unknown gender" if rest else "", mark=", ") if known else "gender unknown"


def intervals(scores: Mapping[str, Any]) -> str:
    """What a caption says of the intervals of these scores, that there are none where nobody drew them.

    >>> intervals({"ua": {"value": 0.5, "low": None, "high": None}})
    'No intervals: fewer than four speakers tell nothing about the next one'
    """
    return INTERVAL if any(math.isfinite(number_of(entry, "low")) for entry in scores.values()) else NO_INTERVAL


def sample(report: Mapping[str, Any]) -> str:
    """What a score was measured on."""
    return f"n = {number(report['n'])} utterances, {count(report['speakers'], 'speaker') or 'speakers unknown'}"


def title(key: Any) -> str:
    said = text(key).replace("_", " ")
    return said[:1].upper() + said[1:]


def metric_name(key: Any) -> str:
    return METRICS.get(key) or text(key).replace("_", " ")


def panel_title(name: str) -> str:
    return metric_name(name) + ("" if scores.higher_is_better(name) else ", lower is better")


def between(entry: Any, meaning: str = "") -> str:
    """ "0.586 to 0.655 (95 %); what the score means"."""
    low, high = three(entry, "low"), three(entry, "high")
    return meaning if NOTHING in (low, high) else f"{low} to {high} (95 %)" + (f"; {meaning}" if meaning else "")


def gain(gap: Any, meaning: str) -> tuple[str, str]:
    """ "+0.080" and "0.050 to 0.110 (95 %); meaning" of a paired difference."""
    sign = "+" if number_of(gap) > 0 else ""
    return sign + three(gap), between(gap, meaning)


def chance(point: Any) -> str:
    """p of a paired difference, the corrected one where there is one."""
    p = number_of(point, "p_holm" if point["p_holm"] else "p")
    return ("< 0.001" if p < 0.001 else number(p, fixed=True)) + (" (least possible)" if point["p_floor"] else "")


def cell_columns(names: Iterable[str], kind: str) -> list[str]:
    """What the columns of classes, or of numbers, are called in the rows of a timeline, which hold more than those.

    >>> cell_columns(["angry", "speech"], "class"), cell_columns(["intensity"], "number")
    (['angry', 'p_speech'], ['intensity'])
    """
    taken = ("time_s", "speech", "speaker", *(["intensity"] if kind == "class" else []))
    return [f"p_{name}" if name in taken else name for name in names]
