"""What a setting may be: declared once beside the field, checked in one place.

    @dataclass(frozen=True)
    class Training(Settings, group="training"):
        lr: Positive = 1e-3
        precision: Literal["fp32", "bf16"] = "fp32"

Whoever makes such an object, a command line, a file or a program, gets an InputError for a number outside its range,
for one that is not finite, and for a word that is not among the choices.
"""

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from sottovoce.errors import InputError


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, or above `above` and below `below`."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        low = f"{self.least:g}" if self.least > -math.inf else f"above {self.above:g}"
        if self.most == self.below == math.inf:
            return f"{low} or more" if self.least > -math.inf else low
        high = f"{self.most:g}" if self.most < math.inf else f"below {self.below:g}"
        return f"{low} to {high}" if math.isinf(self.above) and math.isinf(self.below) else f"{low} and {high}"


LARGEST = 1e12  # of any setting
Count = Annotated[int, Range(least=1)]
Whole = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
ShareBelow1 = Annotated[float, Range(least=0, below=1)]  # of what may never be all


class Settings:
    """Base of every dataclass of settings; `group` is what the settings are called before the dot.

    `renamed`: names of earlier versions, for `--set` and for runs made with them.
    """

    group: ClassVar[str] = ""
    renamed: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, group: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if group:
            cls.group = group

    def __post_init__(self) -> None:
        check_ranges(self, self.group)


def check_ranges(settings: Any, group: str) -> None:
    """Raises InputError for the first field of a dataclass that is outside its range or no choice of its own."""
    kinds = hints(type(settings))  # type: ignore[arg-type]
    for field in fields(settings):
        if problem := _problem(kinds[field.name], getattr(settings, field.name)):
            name = f"{group}.{field.name}" if group else field.name
            raise InputError(f"{name}: {problem}. Found {getattr(settings, field.name)!r}.")


@cache
def hints(kind: Any) -> dict[str, Any]:
    """Types of a class's fields, with what is noted beside them."""
    return get_type_hints(kind, include_extras=True)


def _problem(hint: Any, value: Any) -> str:
    """What is wrong with a value of this type, "" when nothing is."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return "" if value in choices else f"one of {', '.join(map(str, choices))}"
    if get_origin(hint) is tuple and isinstance(value, tuple):
        inner = get_args(hint)
        kinds = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        return next(filter(None, (_problem(k, v) for k, v in zip(kinds, value, strict=False))), "")
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if isinstance(value, (int, float)) and abs(value) > (LARGEST if isinstance(value, float) else 2**31):
        return "a number of a size that means something"
    if get_origin(hint) is Annotated and isinstance(value, (int, float)):
        ranges = [r for r in hint.__metadata__ if isinstance(r, Range)]
        return next((str(r) for r in ranges if value not in r), "")
    return ""
