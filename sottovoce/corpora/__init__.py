"""Corpora: one file is one corpus, and its name is the name on the command line. What a file offers: `base.py`."""

from sottovoce import plugins

__path__ += plugins.elsewhere("corpora")  # files of one's own, see there
