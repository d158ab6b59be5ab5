"""The sheet of paper every report is printed on: jinja2 templates that escape by themselves, one style, no network.

A page holds its style and pictures and loads nothing; a script runs on a few of them, and only where their
Content-Security-Policy names its hash. Light or dark follows the system; the switch at the top is a checkbox that CSS
reads, so nothing is stored. Print is light.

Templates say what is written, modules count and draw. A new picture is a function `draw(found, *, width)` that makes a
matplotlib figure, `partial(draw, found)` among the values of `render`, and in the template, whose parts are `m`:

    {% call m.pictured("Title", drawn, "name", "what it shows, for who cannot see it") %}The caption.{% endcall %}

and a table of dicts is the expressions of its columns:

    {{ m.records("Title", {"run": "name", "hours": "seconds / 3600", "UA": "metrics.ua"}, report.runs, "runs") }}
"""

import base64
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sottovoce import files
from sottovoce.report import charts, words
from sottovoce.report.charts import DARK, LIGHT
from sottovoce.report.known import Nothing, known

TEMPLATES = Path(__file__).parent / "templates"
PARTS = {
    "section": "<section><h2>{title}</h2>{body}</section>",
    "column": "<div><h3>{title}</h3>{body}</div>",
    "bare": "{body}",
    "pair": '<div class="pair">{body}</div>',  # side by side where there is room, below each other on a phone
    "folded": "<details><summary>{title}</summary>{body}</details>",
}


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


def show(value: Any) -> Any:
    """What a template prints: markup as it is, numbers, scores and lists for people, text on one line, "–" for None,
    "" for no value."""
    if isinstance(value, (Markup, Nothing)):
        return value
    if isinstance(value, Mapping) and "value" in value:
        return words.score(value)
    if isinstance(value, (list, tuple)):
        return words.listed(*value)
    return words.number(value) if value is None or isinstance(value, Real) else words.text(value)


def rows(items: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> list[list[Any]]:
    """Dicts as the rows of a table; a column is what its expression, as in a template, makes of a dict's values."""
    cells = [ENVIRONMENT.compile_expression(said, undefined_to_none=False) for said in columns.values()]
    return [[cell(item) for cell in cells] for item in items]


def settings(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A nested configuration as rows, the values as they are."""
    return [(key, str(value)) for key, value in files.flatten(config).items()]


def part(frame: str, title: Any = "", given: Any = True, *, caller: Callable[[], Markup]) -> Markup:
    """What a template's {% call %} holds in one of `PARTS`; nothing where that is nothing, or nothing is `given`."""
    body = caller().strip() if given else ""
    return Markup(frame).format(title=show(title), body=body) if body else Markup()


def figure(draw: Any, name: str, alt: str, width: int = charts.WIDE, *, caller: Callable[[], Markup]) -> Markup:
    """`draw(width=...)` as a picture, its caption what a {% call %} holds; one much wider than a phone is drawn twice,
    and the page shows the one that fits."""
    if not draw:
        return Markup()
    drawn = charts.inline(partial(draw, width=width), name, alt, "half" if width <= charts.HALF else "wide")
    if width > charts.HALF:
        drawn += charts.inline(partial(draw, width=charts.NARROW), f"{name}-s", alt, "narrow")
    said = words.glue(Markup(words.text(caller().strip())))
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(drawn, said)


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=Nothing, finalize=show,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
ENVIRONMENT.filters |= {name: function for name, function in vars(words).items() if inspect.isfunction(function)}
ENVIRONMENT.filters |= {"rows": rows, "settings": settings}
ENVIRONMENT.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "default": str}
ENVIRONMENT.globals |= {"scheme": scheme(), "figure": figure, "WIDE": charts.WIDE, "HALF": charts.HALF}
ENVIRONMENT.globals |= {name: partial(part, frame) for name, frame in PARTS.items()} | {"listed": words.listed}
ENVIRONMENT.globals["m"] = ENVIRONMENT.get_template("parts.html").module


def script(name: str) -> tuple[Markup, str]:
    """A script of the templates, and the source by which a Content-Security-Policy lets this one run."""
    text = Markup((TEMPLATES / name).read_text(encoding="utf-8"))
    return text, f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render(template: str, report: Mapping[str, Any], **values: Any) -> str:
    """A page. The template sees `report`, `values` and the protocol, the first line of which goes to the top."""
    protocol = dict(report.get("protocol") or {})
    first = protocol.pop("first_line", None)
    return ENVIRONMENT.get_template(template).render(
        {"first": first, "protocol": protocol, "report": known(report)} | values
    )
