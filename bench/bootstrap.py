"""Cost and truth of intervals and of replicates: `python -m bench.bootstrap`.

The rival is the usual loop: one scikit-learn call for each score, replicate by replicate. It is timed on a few
replicates and scaled; the difference column compares the two on exactly those replicates. `differences` needs
none; beside it the same comparison by 200,000 replicates of a curve.
"""

import time

import numpy as np
from sklearn import metrics as sk

from sottovoce.data.task import Task
from sottovoce.metrics.scores import PRESENCE, scores
from sottovoce.metrics.statistics import curve_replicates, differences, intervals

ROWS, SPEAKERS, REPLICATES, LOOPED = 5000, 24, 2000, 20
EMOTION = Task("class", ("emotion",), tuple("abcdefgh"))
MOSEI = Task("number", tuple("abcdef"), ranges=((0.0, 3.0),) * 6)


def class_loop(target, predicted):
    return {
        "wa": sk.accuracy_score(target, predicted),
        "ua": sk.balanced_accuracy_score(target, predicted),
        "macro_f1": sk.f1_score(target, predicted, average="macro"),
    }


def number_loop(target, predicted):
    there, said = target > 0, predicted >= PRESENCE
    return {
        "mae": sk.mean_absolute_error(target, predicted),
        "wacc": np.mean([sk.balanced_accuracy_score(there[:, i], said[:, i]) for i in range(6)]),
        "f1": np.mean([sk.f1_score(there[:, i], said[:, i]) for i in range(6)]),
    }


def fastest(function, times=5):
    best = np.inf
    for _ in range(times):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def main():
    rng = np.random.default_rng(0)
    clusters = rng.integers(SPEAKERS, size=ROWS)
    classes = rng.integers(8, size=ROWS)
    guesses = np.where(rng.random(ROWS) < 0.5, classes, rng.integers(8, size=ROWS))
    numbers = rng.integers(0, 10, (ROWS, 6)) / 3 * (rng.random((ROWS, 6)) < 0.3)
    outputs = np.clip(0.5 * numbers + rng.normal(0, 0.4, numbers.shape), 0, 3)
    print(f"{ROWS} rows, {SPEAKERS} speakers, {REPLICATES} replicates\n")
    print("| task | scores | `intervals` s | `differences` s | 200,000 replicates, paired s | (R, N) weights s "
          "| loop, 3 scores s | difference |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for name, task, target, predicted, loop in [
        ("8 emotions", EMOTION, classes, guesses, class_loop),
        ("6 intensities", MOSEI, numbers, outputs, number_loop),
    ]:
        weight = rng.multinomial(SPEAKERS, np.full(SPEAKERS, 1 / SPEAKERS), size=REPLICATES)[
            :, clusters
        ]  # whole speakers
        found = scores(task, target, predicted, weight)
        quick = fastest(lambda t=task, y=target, p=predicted: intervals(t, y, p, clusters))
        gap = fastest(lambda t=task, y=target, p=predicted: differences(t, y, p, y, clusters))
        many = fastest(lambda t=task, y=target, p=predicted: curve_replicates(t, y, [p, y], clusters, n=200_000), 1)
        wide = fastest(lambda t=task, y=target, p=predicted, w=weight: scores(t, y, p, w))
        start, difference = time.perf_counter(), 0.0
        for r in range(LOOPED):
            rows = np.repeat(np.arange(ROWS), weight[r])
            for key, value in loop(target[rows], predicted[rows]).items():
                difference = max(difference, abs(value - found[key][r]))
        slow = (time.perf_counter() - start) * REPLICATES / LOOPED
        print(
            f"| {name} | {len(found)} | {quick:.3f} | {gap:.3f} | {many:.1f} | {wide:.3f} | {slow:.1f} "
            f"| {difference:.0e} |"
        )


if __name__ == "__main__":
    main()
