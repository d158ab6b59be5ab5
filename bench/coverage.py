"""Do 95 % intervals hold the truth, and does p say 0.05 one time in twenty: `python -m bench.coverage`.

Two simulations. The first draws tables (C, S) of what speakers contribute to a score in each training, as normal parts
of known size, 20,000 for each cell: speakers, trainings ("luck"), speaker x training. The second draws answers, 30 rows
a speaker and six classes, and takes the whole way through `intervals` (of UA) and `paired`.
"""

import argparse

import numpy as np

from sottovoce.data.task import Task
from sottovoce.metrics import statistics
from sottovoce.metrics.spread import components

SPEAKERS, SEEDS = (8, 16, 24, 60), (1, 2, 3, 5)
EMOTION = Task("class", ("emotion",), tuple("abcdef"))
# sizes in points of UA: what speakers share in all trainings, what is theirs in one training, luck of a training
PARTS = {
    "no luck, no interaction": (6.0, 1.0, 0.0),
    "interaction": (4.0, 4.0, 0.0),
    "luck": (6.0, 1.0, 1.5),
    "luck and interaction": (4.0, 4.0, 1.5),
    "mostly interaction, luck": (2.0, 4.0, 1.1),
}


def tables(
    rng: np.random.Generator, n: int, speakers: int, seeds: int, parts: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(n, S) scores, (n, C, S) influences of a difference that is 0 in truth."""
    shared, own, luck = parts
    contributes = shared * rng.normal(size=(n, speakers, 1)) + own * rng.normal(size=(n, speakers, seeds))
    contributes += luck * rng.normal(size=(n, 1, seeds))
    return contributes.mean(1), contributes


def covered(n: int, speakers: int, seeds: int, parts: tuple[float, float, float]) -> float:
    """Share of intervals that hold 0. One training cannot know its luck: the truth is then what this training does."""
    rng = np.random.default_rng([speakers, seeds])
    shared, own, luck = parts
    found = components(*tables(rng, n, speakers, seeds, (shared, own, luck if seeds > 1 else 0.0)))
    return float(np.mean(np.abs(found.value) <= found.half_width()))


def answers(
    rng: np.random.Generator, speakers: int, seeds: int, luck: float, interaction: float, arms: int = 2, rows: int = 30
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Target (N,), answers (S, N) of each arm, and clusters; all arms equally good. Parts are in units of logits."""
    target, clusters = np.tile(np.arange(6), speakers * rows // 6), np.repeat(np.arange(speakers), rows)
    easy, found = rng.normal(0, 0.8, speakers), []
    for _ in range(arms):
        logit = 0.5 + easy + rng.normal(0, 0.4, speakers) + rng.normal(0, luck, (seeds, 1))
        logit = logit + rng.normal(0, interaction, (seeds, speakers))
        hit = rng.random((seeds, len(target))) < 1 / (1 + np.exp(-logit[:, clusters]))
        found.append(np.where(hit, target, (target + rng.integers(1, 6, hit.shape)) % 6))
    return target, found, clusters


def truth(luck: float, interaction: float) -> float:
    """UA of such an arm, over all speakers and trainings."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    logit = 0.5 + np.sqrt(0.8**2 + 0.4**2 + luck**2 + interaction**2) * nodes
    return float(np.sum(weights / (1 + np.exp(-logit))) / np.sum(weights))


def rates(n: int, speakers: int, seeds: int, luck: float, interaction: float) -> tuple[float, float, float]:
    """Coverage of UA, and how often p < 0.05 for equal arms, seeds together and apart."""
    held = together = apart = 0
    real = truth(luck, interaction)
    for trial in range(n):
        rng = np.random.default_rng([speakers, seeds, trial])
        target, (a, b), clusters = answers(rng, speakers, seeds, luck, interaction)
        ua = statistics.intervals(EMOTION, target, a, clusters)["ua"]
        held += ua["low"] <= real <= ua["high"]
        together, apart = (
            found + (abs(gap.value) > gap.half_width())
            for found, gap in (
                (count, statistics.differences(EMOTION, target, a, b, clusters, same_seeds=same)["ua"])
                for count, same in ((together, True), (apart, False))
            )
        )
    return held / n, together / n, apart / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=20000)
    parser.add_argument("--trials", type=int, default=400)
    asked = parser.parse_args()
    print(f"Coverage of the interval of a difference, {asked.tables} tables a cell\n")
    print("| speakers | seeds | " + " | ".join(PARTS) + " |\n" + "|---" * (2 + len(PARTS)) + "|")
    for speakers in SPEAKERS:
        for seeds in SEEDS:
            cells = [f"{covered(asked.tables, speakers, seeds, parts):.1%}" for parts in PARTS.values()]
            print(f"| {speakers} | {seeds} | " + " | ".join(cells) + " |", flush=True)
    cases = {"nothing": (0.0, 0.0), "luck 0.08": (0.08, 0.0), "luck and interaction 0.3": (0.08, 0.3)}
    print(f"\nFrom answers, {asked.trials} trials: coverage of UA / p < 0.05, same seeds / p < 0.05, other seeds\n")
    print("| speakers | seeds | " + " | ".join(cases) + " |\n" + "|---" * (2 + len(cases)) + "|")
    for speakers in SPEAKERS:
        for seeds in SEEDS:
            cells = []
            for luck, interaction in cases.values():
                known = (luck, interaction) if seeds > 1 else (0.0, interaction)
                cells.append(" / ".join(f"{x:.1%}" for x in rates(asked.trials, speakers, seeds, *known)))
            print(f"| {speakers} | {seeds} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
