"""The `sottovoce` command, and `python -m sottovoce`. Ctrl-C is one line from the first moment on."""

import sys

from sottovoce.errors import say


def run() -> None:
    try:
        from sottovoce import cli
    except KeyboardInterrupt:
        say("sottovoce: interrupted.", err=True)
        sys.exit(130)
    cli.run()


if __name__ == "__main__":
    run()
