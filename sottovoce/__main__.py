"""The `sottovoce` command, and `python -m sottovoce`. Ctrl-C is one line from the first moment on."""

import sys


def run() -> None:
    try:
        from sottovoce import cli
    except KeyboardInterrupt:
        print("sottovoce: interrupted.", file=sys.stderr)
        sys.exit(130)
    cli.run()


if __name__ == "__main__":
    run()
