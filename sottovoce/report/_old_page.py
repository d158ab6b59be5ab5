"""The sheet of paper every report is printed on: markup that cannot be broken by data, one style, no network.

`tag` is the only way text becomes HTML: what is not `Html` is escaped. A page holds its style and pictures, loads
nothing and runs no script (its Content-Security-Policy forbids both). Light or dark follows the system; the switch at
the top is a checkbox that CSS reads, so nothing is stored. Print is always light.
"""

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Roles of colour. c0..c9 are for data, at least 3:1 on `paper`, text roles at least 4.5:1; figures are drawn with the
# light values, which the SVG text then swaps for variables of the same name (see `charts.inline`).
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
NOTHING = "–"  # what is printed for None, NaN and infinity
VOID = {"br", "hr", "input", "link", "meta"}


class Html(str):
    """Markup that may be inserted as it stands."""

    __slots__ = ()


def text(value: Any) -> str:
    """Any value as one printable line: control characters and broken file-name bytes cannot harm a page or a figure.

    >>> text("a\\x00b\\ud800\\n c")
    'a b?  c'
    """
    line = str(value).encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() or c == "\xa0" else " " for c in line)


def tag(element: str, /, *children: Any, **attributes: Any) -> Html:
    """One element. Children: `Html` as it is, iterables in turn, None left out, anything else escaped.

    Attributes: `class_` is class, `aria_label` is aria-label; True is a bare attribute, None and False are left out.

    >>> tag("p", "a < b", tag("b", 1), class_="x")
    '<p class="x">a &lt; b<b>1</b></p>'
    """
    words = [element]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{html.escape(text(value))}"')
    return Html(f"<{' '.join(words)}>" + ("" if element in VOID else f"{join(children)}</{element}>"))


def join(children: Iterable[Any]) -> Html:
    """Children one after another, by the rule of `tag`."""
    parts = []
    for child in children:
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, (list, tuple)) or hasattr(child, "__next__"):
            parts.append(str(join(child)))
        elif child is not None:
            parts.append(html.escape(text(child), quote=False))
    return Html("".join(parts))


def number(value: Any, digits: int = 3, *, fixed: bool = False) -> str:
    """A number for people: at most `digits` decimals, thousands apart; nothing that is not finite.

    >>> number(1440), number(2.5), number(0.62, fixed=True), number(-0.0001), number(float("nan")), number(None)
    ('1,440', '2.5', '0.620', '0', '–', '–')
    """
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not math.isfinite(value):
        return NOTHING
    out = f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0 makes -0.0 a plain zero
    if not fixed and "." in out:
        out = out.rstrip("0").rstrip(".")
    return out.replace("-", "−")


def duration(seconds: Any) -> str:
    """Seconds in the units one would say.

    >>> duration(4.25), duration(252), duration(3780)
    ('4.2 s', '4 min 12 s', '1 h 3 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def glue(line: Any) -> Any:
    """Spaces that may not break: between a number and its unit, around the equals sign of "n = 5"."""
    if not isinstance(line, str) or isinstance(line, Html):
        return line
    return re.sub(r"(?<=\d) (?=(?:%|s|h|min)(?!\w))|(?<=\bn) (?==)|(?<=\bn =) ", "\xa0", line)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], *, label: str, wrap: bool = False) -> Html:
    """A table in a box that scrolls by itself; the first cell of a row is its header. `label` is read aloud."""
    top = tag("tr", [tag("th", cell, scope="col") for cell in head])
    body = [tag("tr", tag("th", row[0], scope="row"), map(_cell, row[1:])) for row in rows]
    grid = tag("table", tag("thead", top), tag("tbody", body), class_="wrap" if wrap else None)
    return tag("div", grid, class_="scroll", role="region", tabindex=0, aria_label=label)


def _cell(content: Any) -> Html:
    """A cell that was made with attributes stays as it is."""
    return content if isinstance(content, Html) and content.startswith("<td") else tag("td", content)


def bars(
    counts: Mapping[Any, Any],
    *,
    label: str,
    unit: str = "n",
    show: Callable[[Any], str] = number,
    roles: Mapping[Any, str] | None = None,
) -> Html:
    """Counts as rows with a bar (of the colour role `roles[name]`), the number and its share of the whole."""
    total, top = sum(counts.values()) or 1, max(counts.values(), default=0) or 1
    rows = []
    for name, n in counts.items():
        look = f"width:{100 * n / top:.1f}%;background:var(--{(roles or {}).get(name, 'c0')})"
        bar = tag("td", tag("span", style=look), class_="bar", aria_hidden="true")
        rows.append([name, bar, show(n), f"{100 * n / total:.1f} %"])
    return table(["", "", unit, "share"], rows, label=label)


def heat(rows: Sequence[Any], columns: Sequence[Any], counts: Sequence[Sequence[float]], *, label: str) -> Html:
    """Counts (R, C) with their share of the row, the share also as a tint."""
    lines = []
    for name, row in zip(rows, counts, strict=False):
        whole = sum(row)
        cells = []
        for n in row:
            share = n / whole if whole else 0.0
            small = tag("small", f"{100 * share:.0f} %" if whole else NOTHING)
            cells.append(tag("td", number(n), small, style=f"--p:{55 * share:.0f}%"))
        lines.append([name, *cells, number(whole)])
    box = table(["", *columns, "n"], lines, label=label)
    return tag("div", box, class_="heat")


def tiles(items: Iterable[tuple[Any, Any, Any]]) -> Html:
    """Large figures: (name, value, what it means)."""
    return tag(
        "dl",
        [
            tag("div", tag("dt", glue(name)), tag("dd", glue(value)), tag("dd", glue(note), class_="note"))
            for name, value, note in items
        ],
        class_="tiles",
    )


def facts(items: Mapping[Any, Any]) -> Html:
    """Names and values as a definition list; values may be nested dicts and lists."""
    return tag("dl", [[tag("dt", key), tag("dd", _fact(value))] for key, value in items.items()], class_="facts")


def _fact(value: Any) -> Any:
    if isinstance(value, Html):
        return value
    if isinstance(value, Mapping):
        return join([[k, ": ", _fact(v), tag("br")] for k, v in value.items()]) if value else NOTHING
    if isinstance(value, (list, tuple)):
        return join([[", " if k else "", _fact(v)] for k, v in enumerate(value)]) if value else NOTHING
    if value == "":
        return NOTHING
    return number(value) if value is None or isinstance(value, (bool, int, float)) or hasattr(value, "item") else value


def folded(title: Any, *body: Any) -> Html:
    """Something most readers skip."""
    return tag("details", tag("summary", title), *body)


def settings(config: Mapping[Any, Any], title: str = "Configuration") -> Html:
    """A nested configuration, folded, one `a.b.c` a row and the values as they are."""

    def rows(node: Mapping[Any, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, Mapping) and value:
                yield from rows(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", tag("td", tag("code", value if isinstance(value, str) else repr(value)))

    return folded(title, table(["setting", "value"], rows(config), label=title, wrap=True)) if config else Html("")


def section(title: Any, *body: Any) -> Html:
    return tag("section", tag("h2", title), *body)


def pair(*columns: Any) -> Html:
    """Side by side where there is room, below each other on a phone."""
    return tag("div", [tag("div", c) for c in columns], class_="pair")


def banner(*body: Any) -> Html:
    """What the reader has to know before any number."""
    return tag("p", *body, class_="banner", role="note")


def warnings(lines: Iterable[Any] | None) -> Html:
    lines = list(lines or ())
    return tag("ul", [tag("li", line) for line in lines], class_="banner", role="note") if lines else Html("")


def document(kicker: str, title: Any, *body: Any, lede: Any = None) -> str:
    """The whole page. `kicker` says what kind of report this is, `lede` the result in a sentence."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", f"{title} · {kicker}"),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(CSS)),
    )
    switch = [
        tag("input", type="checkbox", id="theme", role="switch", aria_label="Other colours: light or dark"),
        tag("label", "◐", for_="theme", title="light / dark", aria_hidden="true"),
    ]
    top = tag(
        "header",
        tag("p", tag("b", "Sottovoce"), " ", kicker, class_="kicker"),
        switch,
        tag("h1", title),
        tag("p", glue(lede), class_="lede") if lede else None,
    )
    foot = tag("footer", tag("p", "Written by Sottovoce. This page loads nothing and runs no script."))
    return f"<!doctype html>\n{tag('html', head, tag('body', top, tag('main', *body), foot), lang='en')}\n"


def _variables(palette: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


def _scheme() -> str:
    """Light by default and in print; on a screen, dark where the system is dark, and the switch turns either around."""
    light, dark = "color-scheme:light;" + _variables(LIGHT), "color-scheme:dark;" + _variables(DARK)
    return (
        f":root{{{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}:root:has(#theme:checked){{{light}}}}}"
        f"@media screen and (prefers-color-scheme:light){{:root:has(#theme:checked){{{dark}}}}}"
    )


CSS = (
    _scheme()
    + """
:root{--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",sans-serif;
--serif:"Iowan Old Style","Palatino Linotype",Palatino,"URW Palladio L",Georgia,"DejaVu Serif",serif}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 var(--sans);overflow-wrap:anywhere}
header,main,footer{max-width:57rem;margin:auto;padding:0 1rem}
header{position:relative;padding-top:1.6rem}
h1{font:600 clamp(1.7rem,5vw,2.5rem)/1.15 var(--serif);margin:.3rem 0 .6rem;text-wrap:balance}
h2{font:600 1.35rem/1.25 var(--serif);margin:0 0 .7rem}
h3{font-size:1rem;margin:.6rem 0 .3rem}
p{max-width:68ch;margin:.5rem 0}
section{margin:2.2rem 0;padding-top:1.3rem;border-top:1px solid var(--line)}
a{color:var(--c0)}
.kicker{color:var(--soft);font-size:.9rem;margin:0 3rem 0 0}
.kicker b{color:var(--ink)}
.lede{font-size:1.1rem;color:var(--soft)}
#theme{position:absolute;top:1.3rem;right:1rem;width:2.4rem;height:2.4rem;margin:0;opacity:0;cursor:pointer;z-index:1}
#theme+label{position:absolute;top:1.3rem;right:1rem;width:2.4rem;height:2.4rem;border:1px solid var(--line);
border-radius:50%;display:grid;place-items:center}
#theme:focus-visible+label,.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
.banner{background:var(--panel);border-left:4px solid var(--warn);border-radius:.2rem;padding:.7rem 1rem;margin:1rem 0;
max-width:none}
p.banner{font-weight:600}
ul.banner{padding-left:2rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1.1rem 1.6rem;margin:1.4rem 0}
.tiles>div{border-top:2px solid var(--ink);padding-top:.4rem}
.tiles dt{font-weight:600}
.tiles dd{margin:0;font:600 2.3rem/1.2 var(--serif);font-variant-numeric:lining-nums}
.tiles dd.note{font:.88rem/1.4 var(--sans);color:var(--soft)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:.5rem 2rem}
.pair>div{min-width:0}
figure{margin:1rem 0}
figcaption{color:var(--soft);font-size:.9rem;max-width:75ch;margin-top:.3rem}
svg{display:block;max-width:100%;height:auto}
svg *{stroke-linejoin:round;stroke-linecap:butt}
.half{width:100%;max-width:27rem}
.narrow{display:none;width:100%;max-width:30rem}
.scroll{overflow-x:auto;margin:.6rem 0;
background:linear-gradient(to left,var(--paper) 40%,transparent) right/2.5rem 100% no-repeat local,
linear-gradient(to left,color-mix(in srgb,var(--soft) 45%,transparent),transparent) right/.6rem 100% no-repeat scroll}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line);font-weight:400}
th:first-child,.wrap td{text-align:left}
th:first-child{padding-left:0}
tbody th{position:sticky;left:0;background:var(--paper)}
thead th{color:var(--soft);font-size:.85rem;vertical-align:bottom}
.wrap td{white-space:normal;min-width:9rem}
td small,.range{color:var(--soft);font-size:.85em}
td .range{display:block;line-height:1.2}
.bar{width:14rem;min-width:5rem}
.bar span{display:block;height:.8rem;border-radius:.15rem}
.heat td{text-align:center;border:2px solid var(--paper);
background:color-mix(in srgb,var(--c0) var(--p,0%),transparent)}
.heat td:last-child{text-align:right}
.heat td small{display:block;line-height:1.1;color:inherit}
.heat thead th{text-align:center}
.facts{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.35rem 1.2rem;margin:.6rem 0}
.facts dt{color:var(--soft)}
.facts dd{margin:0;max-width:70ch}
details{margin:.8rem 0}
summary{cursor:pointer;color:var(--soft)}
code{font-size:.92em}
.cards{list-style:none;padding:0}
.cards li{border-top:1px solid var(--line);padding:.9rem 0}
.cards a{font:600 1.2rem var(--serif)}
footer p{max-width:none;border-top:1px solid var(--line);padding:.8rem 0 2.5rem;color:var(--soft);font-size:.85rem}
@media screen and (max-width:42rem){.wide{display:none}.narrow{display:block}.facts{grid-template-columns:1fr;gap:0}
.facts dd{margin-bottom:.5rem}.bar{width:7rem}
.tiles{grid-template-columns:repeat(2,1fr);gap:1rem}.tiles dd{font-size:1.8rem}}
@media print{:root{--paper:#fff}body{font-size:11pt}
#theme,#theme+label,summary::marker{display:none}section,figure,tr{break-inside:avoid}
section{margin:1.2rem 0}.scroll{overflow:visible}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)
