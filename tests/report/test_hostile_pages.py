"""Pages of long and hostile names in a real browser, as wide as a desk's and a phone's: nothing runs, nothing is cut,
nothing lies upon something else, and no page can be moved sideways."""

import json
import re

import chromium
import pytest
import test_report as reports

from sottovoce import report
from sottovoce.report import charts

pytestmark = chromium.needed
NAMES = {
    "happy": "<script>document.title='ran'</script>",
    "angry": "W" * 80,
    "sad": "{{7*7}} [bold]x[/bold]",
    "Actor_12": "\"><img src=x onerror=document.title='ran'>",
    "fold1": '=HYPERLINK("http://x","y")',
    "ravdess": "\u202eש\u200fלום e\u0301\u0302 😀 \x1b[31m",
    "Actor_05": "%s {0} $HOME ../../x " + "S" * 80,
    "random": "N" * 80,
}
PAGES = {
    "data": (report.data_page, reports.data_report),
    "strength": (report.strength_page, reports.strength_report),
    "label": (report.label_page, reports.label_report),
    "evaluate": (report.evaluate_page, reports.class_report),
    "study": (report.study_page, reports.study_report),
    "compare": (report.compare_page, reports.compare_report),
}
FAULTS = """(() => {
  const wide = document.documentElement.clientWidth, found = [];
  const say = (what, e) => found.push(what + ": " + e.textContent.trim().slice(0, 60));
  if (document.documentElement.scrollWidth > wide) found.push("moves sideways");
  for (const e of document.querySelectorAll("th, td"))
    if (e.clientWidth && e.scrollWidth > e.clientWidth + 1) say("over", e);
  for (const picture of document.querySelectorAll("svg")) {
    const frame = picture.getBoundingClientRect();
    for (const e of picture.querySelectorAll("text")) {
      const at = e.getBoundingClientRect();
      if (at.width && (at.left < frame.left - 2 || at.right > frame.right + 2)) say("cut", e);
    }
  }
  return JSON.stringify(found);
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = chromium.Browser("about:blank", tmp_path_factory.mktemp("profile"))
    found.call("Page.enable")
    yield found
    found.close()


@pytest.mark.parametrize("name", PAGES)
def test_hostile_names_break_no_page(browser, tmp_path, name):
    make, data = PAGES[name]

    def change(text):
        return re.sub("|".join(NAMES), lambda match: NAMES[match[0]], text)

    page = tmp_path / "page.html"
    page.write_text(make(reports.replace(data(), change)), encoding="utf-8")
    for width in (1280, 390):
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=True)
        browser.call("Page.navigate", url=f"file://{page}")
        browser.wait(lambda: browser.js(f"location.pathname === '{page}' && document.readyState === 'complete'"))
        assert browser.js("document.title") != "ran"
        assert browser.js("document.querySelectorAll('img, script').length") == 0
        assert (width, json.loads(browser.js(FAULTS))) == (width, [])


def test_a_name_on_a_picture_is_cut_by_its_width():
    assert charts.short("neutral", 14) == "neutral"
    assert len(charts.short("W" * 80, 14)) < len(charts.short("n" * 80, 14)) < len(charts.short("i" * 80, 14))
