"""What the data report remarks on about people, classes and lengths: nothing that is wrong for sure, much that is.

s01 and S1          names that differ in case, zeros or signs alone are one person more often than two
one speaker         a class that one person speaks cannot be told from that person's voice
far longer          a clip of many times the usual length is often a whole session, or a label for all of it
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from sottovoce.data.corpus import Fold, Utterance
from sottovoce.errors import few
from sottovoce.metrics.raters import krippendorff_alpha

FAR = 10  # times the median


def similar_speakers(utterances: Sequence[Utterance], folds: Sequence[Fold] = ()) -> list[str]:
    """Speakers whose names differ in case, leading zeros or signs alone; first those on both sides of a fold."""
    alike: dict[str, set[str]] = {}
    for u in utterances:
        if u.speaker:
            alike.setdefault(_plain(u.speaker), set()).add(u.speaker)
    groups = [sorted(names) for _, names in sorted(alike.items()) if len(names) > 1]
    if not groups:
        return []
    alikes = few([" = ".join(names) for names in groups])
    notes = [f"speaker names that may be one person: {alikes}. Correct them if they are"]
    person = {u.id: u.speaker for u in utterances}
    for fold in folds:
        tested = {person[i] for i in fold.test}
        rest = {person[i] for side in (fold.train, fold.dev) for i in side}
        both = [names for names in groups if tested & set(names) and (rest - tested) & set(names)]
        if both:
            notes.append(
                f"{fold.name}: {' = '.join(both[0])}, alike by name, in test and in train or dev: if that is one "
                "person, the model knows the voice it is tested on"
            )
    return notes


def _plain(name: str) -> str:
    """ "S_01" as "s1".

    >>> {_plain(name) for name in ("S_01", "s1", "S001", "s-1")}, _plain("1.0")
    ({'s1'}, '1')
    """
    name = re.sub(r"^(\d+)\.0+$", r"\1", name.casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", "", name))


def lone_classes(utterances: Sequence[Utterance], classes: Mapping[str, Sequence[str]]) -> list[str]:
    """Classes that one speaker speaks, where there are others.

    Args:
        classes: {label: its classes}.
    """
    notes = []
    known = {u.speaker for u in utterances if u.speaker}
    if len(known) < 2:
        return []
    for label, names in classes.items():
        lone = []
        for name in names:
            people = {u.speaker for u in utterances if u.labels.get(label) == name}
            if len(people) == 1 and "" not in people:
                lone.append(f"{name} ({people.pop()})")
        if lone:
            notes.append(
                f"{label} spoken by one speaker alone: {few(lone)}. Nobody can tell such a class from the voice"
            )
    return notes


def votes(utterances: Sequence[Utterance]) -> list[str]:
    """How many raters there are an utterance, how far they agree, and how many utterances have no word of most."""
    marked = [u for u in utterances if "emotion:raters" in u.labels]
    if not marked:
        return []
    names = sorted({key for u in marked for key in u.labels if key.startswith("emotion:")} - {"emotion:raters"})
    number = np.array([float(u.labels["emotion:raters"]) for u in marked])
    shares = np.array([[float(u.labels.get(name, 0.0)) for name in names] for u in marked])
    alpha = krippendorff_alpha(shares * number[:, None])
    said = f"{number.mean():.1f} votes an utterance" if number.max() > 1.5 else "shares of unknown raters"
    agreed = f", Krippendorff's alpha {alpha:.2f}" if np.isfinite(alpha) else ""
    tied = sum("emotion" not in u.labels for u in marked)
    note = f"; {tied} have no word that most chose: they teach by their shares and are not tested" if tied else ""
    return [f"{said}{agreed}{note}"]


def long_clips(seconds: Mapping[str, float | None]) -> list[str]:
    """Recordings more than ten times as long as the median one.

    Args:
        seconds: {utterance: its length}; None is not known.
    """
    known = {name: s for name, s in seconds.items() if s is not None}
    if not known:
        return []
    median = float(np.median(list(known.values())))
    far = sorted((name for name, s in known.items() if s > FAR * median > 0), key=lambda name: -known[name])
    if not far:
        return []
    longest = few([f"{name} {known[name]:.1f} s" for name in far])
    return [f"far longer than the rest (median {median:.1f} s): {len(far)} ({longest})"]
