"""The sheet of paper every report is printed on: jinja2 templates that escape by themselves, one style, no network.

A page holds its style and pictures and loads nothing; a script runs on a few of them, and only where their
Content-Security-Policy names its hash. Light
or dark follows the system; the switch at the top is a checkbox that CSS reads, so nothing is stored. Print is light.
"""

import base64
import hashlib
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sottovoce import files
from sottovoce.report import words

# Roles of colour. c0..c9 are for data, at least 3:1 on `paper`, text roles at least 4.5:1. A figure is drawn once, with
# the light values, which its SVG text then swaps for variables of the same name (see `charts.inline`).
LIGHT = {
    **{"paper": "#fcfbf8", "ink": "#1d1e24", "soft": "#5c5e68"},
    **{"line": "#dfdcd3", "panel": "#f2f0e9", "warn": "#8a4a00"},
    **{"c0": "#2b62b5", "c1": "#c2501c", "c2": "#0e7c60", "c3": "#8b3d91", "c4": "#957000"},
    **{"c5": "#1783a6", "c6": "#c13a60", "c7": "#74757c", "c8": "#7b4b2c", "c9": "#4c409f"},
}
DARK = {
    **{"paper": "#16181d", "ink": "#ecebe6", "soft": "#a8aab3"},
    **{"line": "#353842", "panel": "#20232a", "warn": "#f0b35e"},
    **{"c0": "#7fb0f5", "c1": "#f58c55", "c2": "#4fc9a4", "c3": "#d08ad6", "c4": "#d9b13b"},
    **{"c5": "#5cc3e4", "c6": "#f08aa5", "c7": "#a0a2ab", "c8": "#c79873", "c9": "#a59bf2"},
}
TEMPLATES = Path(__file__).parent / "templates"


def scheme() -> Markup:
    """Light by default and in print; on a screen, dark where the system is dark, and the switch turns either around."""
    light, dark = (
        Markup(f"color-scheme:{name};" + "".join(f"--{role}:{colour};" for role, colour in palette.items()))
        for name, palette in (("light", LIGHT), ("dark", DARK))
    )
    return Markup(
        f":root{{{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}:root:has(#theme:checked){{{light}}}}}"
        f"@media screen and (prefers-color-scheme:light){{:root:has(#theme:checked){{{dark}}}}}"
    )


class Missing(jinja2.ChainableUndefined):
    """A key that is not there has no keys, no items and no text."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self


def show(value: Any) -> Any:
    """What a template prints: markup as it is, numbers for people, text on one line, "–" for None, "" for no value."""
    if isinstance(value, (Markup, Missing)):
        return value
    return words.number(value) if value is None or isinstance(value, Real) else words.text(value)


def escaped(value: Any) -> Markup:
    """Text of others as part of a page that is there already."""
    return Markup("{}").format(words.text(value))


def rows(items: Any, *keys: str, **digits: int) -> list[list[Any]]:
    """Some values of every dict of a list, as the rows of a table; `digits` of those that want fewer or more."""
    return [
        [words.number(item.get(k), digits[k]) if k in digits else item.get(k, Missing()) for k in keys]
        for item in items or ()
    ]


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=Missing, finalize=show,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    named = (
        rows,
        words.number,
        words.duration,
        words.three,
        words.glue,
        words.percent,
        words.score,
        words.count,
        words.size,
    )
    made.filters |= {function.__name__: function for function in named}
    made.filters |= {"titled": words.title, "flat": files.flatten}
    made.globals |= {"scheme": scheme(), "listed": words.listed}
    made.globals["m"] = made.get_template("parts.html").module
    return made


ENVIRONMENT = _environment()


def script(name: str) -> tuple[Markup, str]:
    """A script of the templates, and the source by which a Content-Security-Policy lets this one run."""
    text = Markup((TEMPLATES / name).read_text(encoding="utf-8"))
    return text, f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render(template: str, report: Mapping[str, Any], **values: Any) -> str:
    """A page. The template sees `report` (a key that is None is missing), `values` and the protocol, the first line of
    which goes to the top."""
    known = {key: value for key, value in report.items() if value is not None}
    first, protocol = words.protocol(report)
    return ENVIRONMENT.get_template(template).render({"first": first, "protocol": protocol, "report": known} | values)
