"""One file, one paper or protocol: `recipe(track) -> Recipe`."""
