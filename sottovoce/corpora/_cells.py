"""Cells of tables as people and spreadsheets write them: numbers, times, and words that mean "nobody knows".

A number may have a decimal comma and separators of thousands; which sign is which is read from the cell where it leaves
no choice ("1,5", "0.25", "1.234,5") and from its column where it does not ("1,234"). A time may be seconds, a clock
time, a timedelta as pandas or Python print it, or carry its unit.
"""

import math
import re
import unicodedata
from collections.abc import Iterable

from sottovoce.errors import InputError

NOTHING = frozenset(
    {"", "nan", "-nan", "nat", "none", "null", "nil", "undefined", "-", "--", "–", "—", "?"}
    | {"na", "n/a", "n.a.", "n.a", "#n/a", "#na", "<na>"}
)
# Written for what nobody knows: no word of a label, of a split, or of a name.
UNKNOWN = NOTHING | frozenset(
    {"unknown", "unk", "unknow", "unkown", "not known", "not available", "not specified", "unspecified", "missing"}
    | {"unidentified", "unbekannt", "inconnu", "inconnue", "desconocido", "desconhecido", "sconosciuto", "onbekend"}
    | {"nieznany", "неизвестно", "неизвестный", "不明", "未知", "미상", "-1", "-1.0", "tbd", "tba", "to be determined"}
)
# Written for a speaker or session that is nobody in particular: neither one person nor a name.
NOBODY = UNKNOWN | frozenset(
    {"anonymous", "anon", "anonym", "xx", "xxx", "xxxx", "various", "several", "multiple", "mixed", "many", "others"}
    | {"no name", "noname", "no speaker", "no one", "nobody", "not assigned", "unassigned"}
)
_PERSON = (
    r"(?:spk|spkr|speakers?|spkid|speakerid|actor|person|subject|id|talker|voice|session|sess|video|dialogue|"
    r"sprecher(?:in)?|locuteur|hablante)"
)


def whole(word: str) -> str:
    """ "1.0" as "1": a column of whole numbers with an empty cell is often written so."""
    return re.sub(r"^(\d+)[.,]0+$", r"\1", word)


def is_nothing(text: str) -> bool:
    """Whether a cell is empty, or says so: NaN, None, N/A ..."""
    return text.strip().casefold() in NOTHING


def is_unknown(text: str) -> bool:
    """Whether a word of a label or a split means that nobody knows it.

    >>> [is_unknown(word) for word in ("Unknown", "?", "-", "N/A", "mixed", "\U0001f600")]
    [True, True, True, True, False, False]
    """
    word = _bare(text)
    return word in UNKNOWN or not _has_sign(word)


def is_nobody(text: str) -> bool:
    """Whether a name means that nobody knows who it was; one with a number is somebody.

    >>> [is_nobody(name) for name in ("Unknown", "spk_unknown", "?", "various", "no speaker", "unknown_2", "s07")]
    [True, True, True, True, True, False, False]
    """
    word = _bare(text)
    rest = re.sub(rf"^{_PERSON}[\s_:.-]+|[\s_:.-]+{_PERSON}$", "", word)
    return not {word, rest}.isdisjoint(NOBODY) or not _has_sign(rest)


def _bare(text: str) -> str:
    return text.strip().casefold().strip("<>[](){}\"'*").strip()


def _has_sign(word: str) -> bool:
    """Whether there is more than punctuation: a letter, a digit, a picture."""
    return any(unicodedata.category(c)[0] in "LN" or unicodedata.category(c) == "So" for c in word)


# -- numbers ------------------------------------------------------------------------------------------------

_GAPS = str.maketrans({"−": "-", "\u00a0": "", "\u202f": "", "\u2009": "", " ": "", "'": "", "’": ""})
_SIGNED = re.compile(r"[+-]?(\d[\d.,]*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
_PLAIN = re.compile(r"[+-]?\d{1,9}(\.\d+)?")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")  # 1,234 and 1.234: of one thousand, or of one and a bit


def number(text: str, decimal: str = "") -> float | None:
    """The number a cell holds, None when it is none or not finite.

    Args:
        decimal: the sign before the fraction where the cell leaves it open, see `decimal_sign`; "" takes a point.

    >>> number("1,5"), number("1.234,5"), number("1,234.5"), number("1 234,5"), number("-0,25"), number("1,2,3")
    (1.5, 1234.5, 1234.5, 1234.5, -0.25, None)
    >>> number("1,234"), number("1,234", decimal=","), number("1,234", decimal="."), number("1.234", decimal=",")
    (None, 1.234, 1234.0, 1234.0)
    """
    if decimal != "," and _PLAIN.fullmatch(text):  # nearly all of them
        return float(text)
    plain = _without_gaps(text)
    if plain is None:
        return None
    sign = _only_reading(plain) or decimal or ("." if "." in plain else "")
    if not sign:  # 1,234
        return None
    thousands = "," if sign == "." else "."
    whole, _, fraction = plain.partition(sign)
    if thousands in fraction or (
        thousands in whole and not re.fullmatch(rf"[+-]?\d{{1,3}}(\{thousands}\d{{3}})+", whole)
    ):
        return None
    try:
        value = float(plain.replace(thousands, "").replace(sign, "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def decimal_sign(cells: Iterable[str], separator: str = ",") -> str:
    """The sign before the fraction in a column whose cells do not all tell; "" when nothing does.

    Args:
        cells: of the column.
        separator: of the file. A spreadsheet puts ";" or tabs between columns where the comma is its decimal sign.
    """
    numbers = filter(None, map(_without_gaps, cells))
    signs = {_only_reading(plain) for plain in numbers if "," in plain or "." in plain}
    told = signs - {""}
    if len(told) == 1:
        return told.pop()
    return "," if signs == {""} and separator in (";", "\t", "|") else ""


def is_numeric(text: str) -> bool:
    """Whether a cell is meant as a number, be it one that can be read in two ways.

    >>> is_numeric("1,234"), is_numeric("2.5"), is_numeric("happy"), is_numeric("1, 2")
    (True, True, False, False)
    """
    plain = _without_gaps(text)
    return plain is not None and (not _only_reading(plain) or number(plain) is not None)


def is_ambiguous(text: str) -> bool:
    """Whether a number can be read in two ways: 1,234 is above a thousand here and little more than one there."""
    plain = _without_gaps(text)
    return plain is not None and not _only_reading(plain)


def _without_gaps(text: str) -> str | None:
    """A number's signs and digits alone; None where there are others. "1 2" is no number, "1 234" is."""
    text = text.strip()
    if re.search(r"[\s'’]", text) and not re.fullmatch(r"[+−-]?\d{1,3}([\s'’]\d{3})+([.,]\d*)?", text):
        return None
    plain = text.translate(_GAPS)
    return plain if _SIGNED.fullmatch(plain) else None


def _only_reading(plain: str) -> str:
    """The decimal sign of a number that can be read in one way only; "" when it can be read in two."""
    signs = [c for c in plain if c in ".,"]
    if not signs:
        return "."
    if len(set(signs)) == 2:
        return signs[-1]
    if len(signs) > 1:  # 1.234.567
        return "," if signs[0] == "." else "."
    return "" if _GROUPED.fullmatch(plain) else signs[0]


# -- times --------------------------------------------------------------------------------------------------

UNITS_S = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
}
_CLOCK = re.compile(r"(?:(\d+)\s*d(?:ays?)?\s*,?\s*)?\+?(?:(\d+):)?(\d+):(\d+(?:[.,]\d*)?)", re.IGNORECASE)
_DAYS = re.compile(r"(\d+(?:\.\d+)?)\s*days?", re.IGNORECASE)
_ISO = re.compile(r"P(?=..)(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d+)?)S)?)?", re.IGNORECASE)


def seconds(text: str, where: str, *, unit_s: float = 1.0, decimal: str = "") -> float | None:
    """Seconds of "1.5", "1,5", "400 ms", "00:00:01.5", "0 days", "1 days 00:00:01" or "P0DT0H0M1.5S"; None when empty.

    Args:
        where: for the message.
        unit_s: of a bare number.
        decimal: see `number`.

    >>> seconds("0 days 00:01:01.500000", ""), seconds("2,25", ""), seconds("0 days", ""), seconds("400 ms", "")
    (61.5, 2.25, 0.0, 0.4)

    Raises InputError for anything else.
    """
    text = text.strip()
    if is_nothing(text):
        return None
    if _PLAIN.fullmatch(text) and decimal != ",":
        return round(float(text) * unit_s, 9) if unit_s != 1.0 else float(text)
    if match := _CLOCK.fullmatch(text) or _ISO.fullmatch(text):
        days, hours, minutes, rest = (float((part or "0").replace(",", ".")) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if match := _DAYS.fullmatch(text):
        return float(match[1]) * 86400
    if (match := re.fullmatch(r"(.*\d[.,]?)\s*([a-z]+)", text, re.IGNORECASE)) and match[2].lower() in UNITS_S:
        text, unit_s = match[1], UNITS_S[match[2].lower()]
    value = number(text, decimal)
    if value is None:
        if is_ambiguous(text):
            raise InputError(f"{where}: {text!r} can be read in two ways. Write 1234 or 1.234.")
        raise InputError(f"{where}: {text!r} is not a time. Write seconds, or a timedelta such as 0 days 00:00:01.5.")
    return round(value * unit_s, 9) if unit_s != 1.0 else value
