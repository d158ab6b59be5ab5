"""The pages of several steps on one."""

from collections.abc import Mapping, Sequence
from typing import Any

from sottovoce.report import page


def index_page(title: str, items: Sequence[Mapping[str, Any]], intro: str | None = None) -> str:
    """Links to the pages of a run: items of {title, href (relative), summary}."""
    return page.render("index.html", {}, title=title, items=items, lede=intro)
