"""How long one waits for nothing to happen: `python -m bench.startup [--quick]`."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 7
SCRIPT = Path(sys.executable).with_name("sottovoce")
QUESTION = "import sottovoce, sys; print('torch' in sys.modules)"
CASES = [  # what, command, target in seconds, what its standard output must hold
    ("bare `python`", [sys.executable, "-c", "print('started')"], None, "started"),
    ("`import sottovoce`", [sys.executable, "-c", QUESTION], 0.15, "False"),
    ("`sottovoce --help`", [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "sottovoce"], 0.40, "pretrain"),
]


def main() -> None:
    runs = 3 if "--quick" in sys.argv else RUNS
    # Without bytecode every start compiles again, which no user has to wait for.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    print(f"| command | median of {runs}, s | fastest, s | target, s | answers |\n|---|---|---|---|---|")
    for name, command, target, wanted in CASES:
        command = command + ["--help"] * name.startswith("`sottovoce")
        seconds = []
        for _ in range(runs + 1):
            start = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            seconds.append(time.perf_counter() - start)
        right = "as it should" if wanted in done.stdout else f"wrongly: {(done.stdout + done.stderr)[-80:]!r}"
        seconds = seconds[1:]  # the first one fills the caches
        goal = f"< {target}" if target else ""
        print(f"| {name} | {statistics.median(seconds):.3f} | {min(seconds):.3f} | {goal} | {right} |")


if __name__ == "__main__":
    main()
