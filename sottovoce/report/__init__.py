"""Reports a person enjoys: plain dicts in, one self-contained HTML page out (or figures, for a paper or a README).

    data_page      what `prepare` found            evaluate_page   how good a run is, and against what
    pretrain_page  is pre-training healthy         study_page      what pre-training is worth, label by label
    strength_page  does an intensity model order     label_page      are pseudo-labels worth it
    compare_page   which of several runs is better view_page       one recording over time
    transfer_page  one corpus learned, another tested audit_page     who is on both sides of a split
    index_page     the pages of a demo run           serve_page     where a server is asked

A page is the file of the verb whose result it shows. Every key of every dict may be missing (see `known`): a section
without data is left out, a number that is not there is "–". `page` holds the templates, `charts` what several figures
share, `words` how numbers are said.
"""

from sottovoce.report.audit import audit_page
from sottovoce.report.compare import compare_figure, compare_page
from sottovoce.report.evaluate import evaluate_page
from sottovoce.report.index import embedded, index_page, link_pages
from sottovoce.report.label import label_page
from sottovoce.report.predict import timeline_drawing, timeline_figure
from sottovoce.report.prepare import data_page
from sottovoce.report.pretrain import pretrain_page, spans_figure
from sottovoce.report.serve import POLICY, serve_page
from sottovoce.report.strength import strength_page
from sottovoce.report.study import study_figure, study_page
from sottovoce.report.transfer import transfer_figure, transfer_page
from sottovoce.report.view import view_page
from sottovoce.report.words import metric_name, score

__all__ = [
    "POLICY", "audit_page", "compare_figure", "compare_page", "data_page", "embedded", "evaluate_page", "index_page",
    "label_page", "link_pages", "metric_name", "pretrain_page", "score", "serve_page", "spans_figure", "strength_page",
    "study_figure", "study_page", "timeline_drawing", "timeline_figure", "transfer_figure", "transfer_page",
    "view_page",
]  # fmt: skip
