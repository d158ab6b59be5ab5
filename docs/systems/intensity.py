"""Which intensity orders normal and strong renderings: a ranking on the encoder's states, or loudness?

    python docs/systems/intensity.py bands --prepared ravdess=data/ravdess [nemo=data/nemo]

Relative attributes (`sottovoce.metrics.relative_attributes`), an emotion each, neutral below emotional, on mean and
deviation of the states of the default encoder's first blocks, with or without statistics of the level beside them (the
encoder hears every recording equally loud). Taught on a fold's training actors, without labels of intensity. The dev
actors of all folds choose once for all folds: block, level and price of the slacks, and in the same way which statistic
of the level is called loudness, by how well normal and strong are told apart. They are test actors of other folds, so
those who are nobody's dev are judged alone too. nEMO: taught on all of RAVDESS; neutral against emotional.

AUC within each emotion over the actors of a fold, and within each actor and emotion, where an actor's distance to the
microphone counts for nothing.

A ranking on mean, deviation and mean level is one of frames too: a recording's deviation is the mean over time of
(h - mean)^2 / deviation, so w h + v (h - mean)^2 / deviation + u level is a curve whose mean is the ranking's score. It
is asked what it is for: two renderings of one sentence by one actor, normal and strong, as one recording; in which of
them is the curve higher? Mean and deviation are of the two together, as the curve knows no border.
"""

import argparse
from pathlib import Path

import many
import numpy as np
import scipy.stats
import torch
from speech import Speech, encoder, folds

from sottovoce.metrics import relative_attributes
from sottovoce.metrics.agreement import agreement_difference, agreement_intervals

BLOCKS = ((1,), (2,), (1, 2))
SLACKS = (1e-2, 3e-3, 1e-3, 1e-4, 1e-5)
LEVELS = ("mean", "power", "90th percentile", "loudest")
Setting = tuple[tuple[int, ...], int, float]  # blocks, statistics of the level beside them, price of the slacks
SETTINGS: list[Setting] = [(blocks, count, slack) for blocks in BLOCKS for count in (0, 4) for slack in SLACKS]
OF_FRAMES: list[Setting] = [(blocks, count, slack) for blocks in BLOCKS for count in (0, 1) for slack in SLACKS]


@torch.no_grad()
def pooled(speech: Speech, upto: int) -> np.ndarray:
    """(N, upto, 1024): mean and deviation of the first blocks."""
    net, found = encoder("cpu"), np.zeros((len(speech.rows), upto, 1024), np.float32)
    for some, x, lengths in speech.batches(np.arange(len(speech.rows)), 4000):
        layers = net(x, lengths, upto=upto).layers[1:]
        each = [many.pooled([h[None]], lengths[None] // 2)[0] for h in layers]
        found[some] = torch.stack(each, 1).numpy()
    return found


def levels(speech: Speech) -> np.ndarray:
    """(N, 4) dB, as `LEVELS`."""
    parts = [speech.level[b : b + n] for b, n in zip(speech.begins, speech.frames, strict=True)]
    return np.array([[x.mean(), 10 * np.log10((10 ** (x / 10)).mean()), np.quantile(x, 0.9), x.max()] for x in parts])


class Renderings:
    """Recordings, their labels, and what they are ranked by."""

    def __init__(self, speech: Speech, states: np.ndarray):
        self.states, self.levels = states.astype(np.float64), levels(speech)
        self.corpus, self.emotion, self.people = (speech.column(name) for name in ("corpus", "emotion", "speaker"))
        self.frames = speech.frames.astype(np.float64)
        self.strong = speech.column("intensity") == "strong"
        self.place = {name: k for k, name in enumerate(speech.column("id"))}

    def features(self, blocks: tuple[int, ...], count: int) -> np.ndarray:
        """The level counts as much as a hundred of the states' features."""
        x = self.states[:, [b - 1 for b in blocks]].reshape(len(self.states), -1)
        return np.concatenate([x, np.repeat(self.levels[:, :count], 100 // count, axis=1)], axis=1) if count else x

    def rank(self, setting: Setting, train: np.ndarray, asked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows asked for, by the ranking of each emotion that the rows of `train` teach."""
        x = self.features(*setting[:2])
        z, found = relative_attributes.Scale.of(x[train])(x), {}
        neutral = train[self.emotion[train] == "neutral"]
        for name, rows in asked.items():
            own = train[self.emotion[train] == name]
            found[name] = relative_attributes.fit(z[own], z[neutral], slack=setting[2]).raw(z[rows])
        return found

    def auc(self, score: np.ndarray, rows: np.ndarray) -> float:
        """Normal against strong within actor and emotion."""
        found = agreement_intervals(score, self.strong[rows], self.people[rows], strata=self.inside(rows))
        return float(found["auc"]["value"])

    def inside(self, rows: np.ndarray) -> list[str]:
        return [f"{who} {what}" for who, what in zip(self.people[rows], self.emotion[rows], strict=True)]

    def pairs(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """(normal, strong) renderings of a sentence by an actor."""
        ids = {k: row for row, k in self.place.items()}
        names = {row: ids[row].split("-") for row in rows}
        normal = [row for row in rows if names[row][3] == "01"]
        other = [self.place.get("-".join(names[row][:3] + ["02"] + names[row][4:]), -1) for row in normal]
        return [pair for pair in zip(normal, other, strict=True) if pair[1] in names]

    def halves(self, setting: Setting, train: np.ndarray, pairs: list[tuple[int, int]], emotion: str) -> np.ndarray:
        """(P,) how much higher the curve is in the second half of two recordings heard as one."""
        blocks, count, slack = setting
        x = self.features(blocks, count)
        scale = relative_attributes.Scale.of(x[train])
        z, own = scale(x), train[self.emotion[train] == emotion]
        w = relative_attributes.fit(z[own], z[train[self.emotion[train] == "neutral"]], slack=slack).weight / scale.std
        first, second = np.array(pairs).T
        share = self.frames[first] / (self.frames[first] + self.frames[second])
        higher = np.zeros(len(pairs))
        for k, block in enumerate(blocks):
            (mean, mean2), (dev, dev2) = (
                [self.states[r, block - 1, part] for r in (first, second)] for part in (slice(512), slice(512, 1024))
            )
            square, square2 = dev**2 + mean**2, dev2**2 + mean2**2
            whole = share[:, None] * mean + (1 - share[:, None]) * mean2
            sigma = np.sqrt(share[:, None] * square + (1 - share[:, None]) * square2 - whole**2)
            along, across = w[1024 * k :][:512], w[1024 * k + 512 :][:512]
            apart = (square2 - 2 * whole * mean2) - (square - 2 * whole * mean)
            higher += (mean2 - mean) @ along + (apart / sigma) @ across
        if count:
            higher += (self.levels[second, 0] - self.levels[first, 0]) * w[1024 * len(blocks) :].sum()
        return higher


def choices(
    it: Renderings, train: np.ndarray, dev: np.ndarray, settings: list[Setting]
) -> tuple[list[float], list[float]]:
    """How well every setting of the ranking, and every statistic of the level, does on the dev actors."""
    emotional = dev[it.emotion[dev] != "neutral"]
    asked = {name: emotional[it.emotion[emotional] == name] for name in np.unique(it.emotion[emotional])}
    rows = np.concatenate(list(asked.values()))
    by = [it.auc(np.concatenate(list(it.rank(s, train, asked).values())), rows) for s in settings]
    return by, [it.auc(it.levels[rows, k], rows) for k in range(len(LEVELS))]


def say(what: str, score: np.ndarray, loud: np.ndarray, label: np.ndarray, people: np.ndarray, strata) -> None:
    cells = []
    for values in (score, loud):
        own = agreement_intervals(values, label, people, strata=strata)["auc"]
        cells.append(f"{own['value']:.3f} [{own['low']:.3f}, {own['high']:.3f}]")
    apart = agreement_difference(score, loud, label, people, strata=strata)["auc"]
    cells.append(f"{apart['value']:+.3f} [{apart['low']:+.3f}, {apart['high']:+.3f}], p {apart['p']:.2g}")
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


def of_frames(it: Renderings, parts: list) -> None:
    """The frames' curve: chosen on dev as the ranking is, by whole recordings; then whole recordings and halves."""
    by = np.mean([choices(it, *p[:2], OF_FRAMES)[0] for p in parts], axis=0)
    setting = OF_FRAMES[int(np.argmax(by))]
    print(f"dev, of frames: {setting} {by.max():.3f}")
    rows, score, pairs, higher, louder = ([] for _ in range(5))
    for train, _, test in parts:
        for name in set(it.emotion[test]) - {"neutral"}:
            own = test[it.emotion[test] == name]
            rows.append(own)
            score.append(it.rank(setting, train, {name: own})[name])
            two = it.pairs(own)
            pairs += two
            higher.append(it.halves(setting, train, two, name))
            louder.append([it.levels[b, 1] - it.levels[a, 1] for a, b in two])
    r, x = np.concatenate(rows), np.concatenate(score)
    say("RAVDESS, of frames, normal / strong, within actor and emotion", x, it.levels[r, 3], it.strong[r], it.people[r],
        it.inside(r))  # fmt: skip
    people = it.people[np.array(pairs)[:, 0]]
    right = np.concatenate(higher) > 0
    loud = np.concatenate(louder) > 0
    each = [
        np.array([(ok[people == who]).mean() for who in np.unique(people)]) for ok in (right, loud, right * 1.0 - loud)
    ]
    cells = []
    for values in each:
        half = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
        cells.append(f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]")
    print(f"| RAVDESS, {len(pairs)} pairs heard as one: the stronger half is higher (loudness: has more power) | "
          f"{' | '.join(cells)} |", flush=True)  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("bands", type=Path)
    ask.add_argument("--prepared", nargs="+", required=True, help="NAME=FOLDER")
    ask.add_argument("--keep", type=Path, help="where pooled states are kept, .npy")
    given = ask.parse_args()
    prepared = dict(pair.split("=", 1) for pair in given.prepared)
    speech = Speech.load(given.bands, "cpu")
    there = given.keep is not None and given.keep.is_file()
    states = np.load(given.keep) if there else pooled(speech, max(map(max, BLOCKS)))
    if given.keep and not there:
        np.save(given.keep, states)
    it = Renderings(speech, states)
    parts = [
        [np.array([it.place[i] for i in fold[part]]) for part in ("train", "dev", "test")]
        for fold in folds(Path(prepared["ravdess"]))
    ]
    by, of_level = (
        np.mean(column, axis=0) for column in zip(*(choices(it, *p[:2], SETTINGS) for p in parts), strict=True)
    )
    setting, loud = SETTINGS[int(np.argmax(by))], int(np.argmax(of_level))
    for count in (0, 4):
        best = max((k for k, s in enumerate(SETTINGS) if s[1] == count), key=lambda k: by[k])
        print(f"dev, statistics of the level beside the states: {count}: {SETTINGS[best]} {by[best]:.3f}")
    print(f"dev, loudness: {', '.join(f'{name} {x:.3f}' for name, x in zip(LEVELS, of_level, strict=True))}")
    told: list[tuple] = []  # rows, rankings, fold and emotion
    above: list[tuple] = []
    for number, (train, _, test) in enumerate(parts):
        neutral = test[it.emotion[test] == "neutral"]
        names = [name for name in np.unique(it.emotion[test]) if name != "neutral"]
        asked = {name: np.concatenate([test[it.emotion[test] == name], neutral]) for name in names}
        for name, score in it.rank(setting, train, asked).items():
            rows = asked[name]
            own = it.emotion[rows] == name
            told.append((rows[own], score[own], [f"{number} {name}"] * sum(own)))
            above.append((rows, score, own, [f"{number} {name}"] * len(rows)))
    loudness = it.levels[:, loud]
    judges = set(it.people[np.concatenate([dev for _, dev, _ in parts])])
    print("| AUC | ranking | loudness | ranking - loudness |\n|---|---|---|---|")
    rows, score = (np.concatenate([part[k] for part in told]) for k in range(2))
    felt = np.concatenate([part[2] for part in told])
    for who, some in (("all actors", rows >= 0), ("nobody's dev", ~np.isin(it.people[rows], list(judges)))):
        r, x = rows[some], score[some]
        say(f"RAVDESS, {who}, normal / strong, within actor and emotion", x, loudness[r], it.strong[r], it.people[r],
            it.inside(r))  # fmt: skip
        say(f"RAVDESS, {who}, normal / strong, within emotion", x, loudness[r], it.strong[r], it.people[r], felt[some])
    rows, score, own = (np.concatenate([part[k] for part in above]) for k in range(3))
    felt = np.concatenate([part[3] for part in above])
    say("RAVDESS, emotional above neutral", score, loudness[rows], own, it.people[rows], felt)
    of_frames(it, parts)
    theirs = np.flatnonzero(it.corpus == "nemo")
    if len(theirs):
        names = [name for name in np.unique(it.emotion[theirs]) if name != "neutral"]
        asked = {name: theirs[np.isin(it.emotion[theirs], (name, "neutral"))] for name in names}
        found = it.rank(setting, np.flatnonzero(it.corpus == "ravdess"), asked)
        rows, score = (np.concatenate([part[name] for name in names]) for part in (asked, found))
        label, felt = it.emotion[rows] != "neutral", [name for name in names for _ in asked[name]]
        say("nEMO, emotional above neutral", score, loudness[rows], label, it.people[rows], felt)


if __name__ == "__main__":
    main()
