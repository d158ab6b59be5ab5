"""Tables of what `gmp.py` and `masked.py` have answered: scores and paired differences with the package's intervals.

python docs/systems/tables.py out/gmp_ravdess.npz --against plain
"""

import argparse
from pathlib import Path

import numpy as np

from sottovoce.data.task import Task
from sottovoce.metrics.statistics import differences, holm, intervals


def cell(found: dict, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{found['value']:{form}} [{found['low']:{form}}, {found['high']:{form}}]"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("answers", type=Path, help="NAME.npz: y, speakers and (S, N) or (S, L, N) answers of every arm")
    ask.add_argument("--against", required=True, help="the arm that the others are compared with")
    ask.add_argument("--at", type=int, default=-1, help="which label count, of answers along a curve")
    ask.add_argument("--only", default="", help="speakers that are counted, e.g. actor13,actor14; default: all")
    given = ask.parse_args()
    data = np.load(given.answers)
    y, speakers = data["y"].astype(int), data["speakers"]
    arms = {k: data[k] for k in data.files if data[k].dtype == np.int8 and k != "y"}
    arms = {k: (v[:, given.at] if v.ndim == 3 else v).astype(int) for k, v in arms.items()}
    if given.only:
        some = np.isin(speakers, given.only.split(","))
        y, speakers, arms = y[some], speakers[some], {k: v[:, some] for k, v in arms.items()}
    task = Task("class", ("emotion",), tuple(map(str, range(y.max() + 1))))
    base = arms[given.against]
    ahead = {k: differences(task, y, v, base, speakers) for k, v in arms.items() if k != given.against}
    p = dict(zip(ahead, holm([found["ua"].p_value() or 0.0 for found in ahead.values()]), strict=True))
    print(f"n = {len(y)}, {len(set(speakers))} speakers, {len(base)} seeds\n")
    print(f"| arm | UA | by seed | WAR | UA minus {given.against} | p (Holm) | smallest detectable |\n|" + "---|" * 7)
    for name, answers in arms.items():
        scores = intervals(task, y, answers, speakers)
        seeds = ", ".join(f"{intervals(task, y, row, speakers)['ua']['value']:.3f}" for row in answers)
        row = [f"`{name}`", cell(scores["ua"]), seeds, cell(scores["wa"])]
        if name in ahead:
            own = ahead[name]["ua"]
            low, high = own.bounds()
            difference = cell({"value": float(own.value), "low": low, "high": high}, signed=True)
            row += [difference, f"{p[name]:.3f}", f"{own.detectable():.3f}"]
        else:
            row += ["", "", ""]
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
