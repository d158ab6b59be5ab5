"""What a run's answers lose by telephone, noise, room and codec: `python -m bench.robustness RUN`.

The test speakers of every fold, each recording changed one way at a time. See `sottovoce/evaluation/robustness.py`.
"""

import sys

from sottovoce.data import runs
from sottovoce.evaluation.robustness import robustness


def main() -> None:
    print("| condition | UA | difference |\n|---|---|---|")
    for row in robustness(runs.parts(sys.argv[1], "finetune")):
        print(f"| {row['condition']} | {row['value']:.3f} | {row['difference']:+.3f} |", flush=True)


if __name__ == "__main__":
    main()
