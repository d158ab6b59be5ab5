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
"""

import argparse
from pathlib import Path

import many
import numpy as np
import torch
from speech import Speech, encoder, folds

from sottovoce.metrics import relative_attributes
from sottovoce.metrics.agreement import agreement_difference, agreement_intervals

BLOCKS = ((1,), (2,), (1, 2))
SLACKS = (1e-2, 3e-3, 1e-3, 1e-4, 1e-5)
LEVELS = ("mean", "power", "90th percentile", "loudest")
Setting = tuple[tuple[int, ...], bool, float]  # blocks, level beside them, price of the slacks
SETTINGS: list[Setting] = [(blocks, level, slack) for blocks in BLOCKS for level in (False, True) for slack in SLACKS]


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
        self.strong = speech.column("intensity") == "strong"
        self.place = {name: k for k, name in enumerate(speech.column("id"))}

    def features(self, blocks: tuple[int, ...], level: bool) -> np.ndarray:
        """The level counts as much as a hundred of the states' features."""
        x = self.states[:, [b - 1 for b in blocks]].reshape(len(self.states), -1)
        return np.concatenate([x, np.repeat(self.levels, 25, axis=1)], axis=1) if level else x

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


def choices(it: Renderings, train: np.ndarray, dev: np.ndarray) -> tuple[list[float], list[float]]:
    """How well every setting of the ranking, and every statistic of the level, does on the dev actors."""
    emotional = dev[it.emotion[dev] != "neutral"]
    asked = {name: emotional[it.emotion[emotional] == name] for name in np.unique(it.emotion[emotional])}
    rows = np.concatenate(list(asked.values()))
    by = [it.auc(np.concatenate(list(it.rank(s, train, asked).values())), rows) for s in SETTINGS]
    return by, [it.auc(it.levels[rows, k], rows) for k in range(len(LEVELS))]


def say(what: str, score: np.ndarray, loud: np.ndarray, label: np.ndarray, people: np.ndarray, strata) -> None:
    cells = []
    for values in (score, loud):
        own = agreement_intervals(values, label, people, strata=strata)["auc"]
        cells.append(f"{own['value']:.3f} [{own['low']:.3f}, {own['high']:.3f}]")
    apart = agreement_difference(score, loud, label, people, strata=strata)["auc"]
    cells.append(f"{apart['value']:+.3f} [{apart['low']:+.3f}, {apart['high']:+.3f}], p {apart['p']:.2g}")
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


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
    by, of_level = (np.mean(column, axis=0) for column in zip(*(choices(it, *p[:2]) for p in parts), strict=True))
    setting, loud = SETTINGS[int(np.argmax(by))], int(np.argmax(of_level))
    for level in (False, True):
        best = max((k for k, s in enumerate(SETTINGS) if s[1] == level), key=lambda k: by[k])
        print(f"dev, level beside the states: {level}: {SETTINGS[best]} {by[best]:.3f}")
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
