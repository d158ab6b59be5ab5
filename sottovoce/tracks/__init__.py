"""Tracks: everything per frame. One file is one maker, and its name is the name on the command line.

What a maker offers is in `base.py`.
"""

from sottovoce import plugins

__path__ += plugins.elsewhere("tracks")  # files of one's own, see there
