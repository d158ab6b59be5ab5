"""The pages of several steps on one."""

from collections.abc import Mapping, Sequence
from typing import Any

from sottovoce.report import page
from sottovoce.report.page import tag


def index_page(title: str, items: Sequence[Mapping[str, Any]], intro: str | None = None) -> str:
    """Links to the pages of a run: items of {title, href (relative), summary}."""
    cards = []
    for item in items:
        link = tag("a", item.get("title") or item.get("href"), href=item.get("href"))
        cards.append(tag("li", link, tag("p", item.get("summary") or "")))
    return page.document("run", title, tag("ul", cards, class_="cards"), lede=intro)
