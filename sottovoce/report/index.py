"""The pages of several steps on one."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import escape

from sottovoce import files
from sottovoce.report import page, words

NAV = '<nav aria-label="Pages of this run">'
MANY = 12  # pages that still fit into a line of links


def index_page(title: str, items: Sequence[Mapping[str, Any]], intro: str | None = None) -> str:
    """The results of a run and links to its pages: items of {title, href (relative), summary, result, picture}.

    `result` is the page's answer in words, `picture` what `embedded` makes of its figure.
    """
    return page.render("index.html", {}, title=title, items=items, lede=intro)


def embedded(figure: Path | str) -> str:
    """An SVG file as the address of an image, so that a page holds it; "" where there is none."""
    if not Path(figure).is_file():
        return ""
    return "data:image/svg+xml;base64," + base64.b64encode(Path(figure).read_bytes()).decode()


def link_pages(index: Path | str, items: Sequence[Mapping[str, Any]]) -> None:
    """Let the pages of a run link to its index, and to each other where they are few; those not there are left out."""
    home = Path(index).parent
    there = [item for item in items if (home / str(item["href"])).is_file()]
    for item in there:
        path = home / str(item["href"])
        links = [f'<a href="{_way(index, path)}">All pages</a>']
        for other in there if len(there) <= MANY else []:
            name = escape(words.text(other.get("title") or other["href"]))
            way = _way(home / str(other["href"]), path)
            links.append(f'<b aria-current="page">{name}</b>' if other is item else f'<a href="{way}">{name}</a>')
        before, nav, after = path.read_text(encoding="utf-8").partition(NAV)
        if nav:
            files.write_text(path, before + nav + "".join(links) + after[after.find("</nav>") :])


def _way(to: Path | str, page_: Path) -> str:
    return quote(os.path.relpath(to, page_.parent).encode("utf-8", "surrogateescape"))
