"""One file, one paper or protocol: `recipe(track) -> Recipe`."""

from sottovoce import plugins

__path__ += plugins.elsewhere("recipes")  # files of one's own, see there
