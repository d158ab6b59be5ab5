"""The pages of several steps on one."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sottovoce import files
from sottovoce.report import page

NAV = '<nav aria-label="Pages of this run">'


def index_page(title: str, items: Sequence[Mapping[str, Any]], intro: str | None = None) -> str:
    """Links to the pages of a run: items of {title, href (relative), summary}."""
    return page.render("index.html", {}, title=title, items=items, lede=intro)


def link_pages(index: Path | str, items: Sequence[Mapping[str, Any]]) -> None:
    """Let the pages of a run link back to its index; pages that are not there are passed over."""
    for item in items:
        if (path := Path(index).parent / str(item["href"])).is_file():
            way = quote(os.path.relpath(index, path.parent).encode("utf-8", "surrogateescape"))
            before, nav, after = path.read_text(encoding="utf-8").partition(NAV)
            rest = after[after.find("</nav>") :]
            files.write_text(path, f'{before}{nav}<a href="{way}">All pages</a>{rest}' if nav else before)
