"""Who may be seen by whom: who one person is, how a fold splits them, and what weights have seen in training.

    person   speaker, else session (a video), else the utterance alone: who may not be on two sides, and what is
             resampled for an interval
    voice    speaker, else the utterance alone: what is standardised together (a session holds several voices)

What weights have seen is kept with them: people by name in their configuration (`seen_speakers`), recordings by
content in seen.json. A recording under another name, in another container or without its speaker is that recording.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from sottovoce import files
from sottovoce.data import contents, own
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.store import TrackStore
from sottovoce.errors import InputError, check_names, few

FILE = "seen.json"
NO_HOLDOUT = "no_holdout"  # fold of a run that learns from all speakers
EARLIER_NO_HOLDOUT = "everybody"  # its name in earlier versions


def person(u: Utterance) -> str:
    """Who speaks in an utterance, as lists of people write it: corpus/speaker, else session, else the utterance."""
    return f"{u.corpus}/{u.speaker or u.session or u.id}"


def voice(u: Utterance) -> str:
    """Whose recordings are standardised together: corpus/speaker; an unknown speaker counts as one of their own."""
    return f"{u.corpus}/{u.speaker or u.id}"


# -- folds ----------------------------------------------------------------------------------------------------


def group_folds(
    utterances: Sequence[Utterance],
    n: int,
    *,
    group: str = "speaker",
    names: Iterable[str] | None = None,
    even: bool = False,
    seed: int = 0,
) -> list[Fold]:
    """Cross-validation folds that keep every speaker (or session) on one side, balanced by gender.

    Groups are dealt in sorted order, each gender on its own round, so that 24 actors in 6 folds give
    2 women and 2 men a fold. Dev is taken from the groups that follow the test groups in that order (one a gender),
    never from test.

    Args:
        utterances: all of one corpus.
        n: number of folds; every group is tested exactly once.
        group: attribute that may not be shared, "speaker" or "session".
        names: fold names; default fold1, fold2, ...
        seed: of another dealing; 0 deals in sorted order.
        even: where some groups are more than twice as large as others, the largest are dealt first, each to the part
            that is smallest so far, and dev takes groups until it is a tenth of what is not tested.

    Raises InputError: fewer groups than folds need (one each for train, dev and test).
    """
    genders = {getattr(u, group): u.gender for u in reversed(utterances)}
    if len(genders) < max(n, 3):
        found = ", ".join(sorted(genders)[:5]) or "none"
        else_ = "fewer folds with --folds" if len(genders) >= 3 else "--group none (leaky)"
        raise InputError(
            f"{utterances[0].corpus if utterances else 'corpus'}: too few {group}s for {n} folds. "
            f"Found {len(genders)} ({found}). At least {max(n, 3)} are needed: give {group} names, or {else_}."
        )
    lanes: dict[str, list[str]] = {}
    for name in sorted(genders):
        lanes.setdefault(genders[name], []).append(name)
    rng = np.random.default_rng(seed)
    for lane in lanes.values() if seed else ():
        lane[:] = rng.permutation(lane).tolist()
    sizes = Counter(getattr(u, group) for u in utterances)
    even = even and max(sizes.values()) > 2 * min(sizes.values())
    dealt = [name for lane in lanes.values() for name in lane]
    part = _dealt_by_size(sizes, n) if even else {name: k % n for k, name in enumerate(dealt)}
    folds = []
    labels = list(names) if names is not None else [f"fold{k + 1}" for k in range(n)]
    for k in range(n):
        turn = {name: (p - k) % n for name, p in part.items()}  # 0 is tested, the others follow
        waiting = sorted(filter(turn.__getitem__, sizes if even else dealt), key=turn.__getitem__)
        dev = set({genders[name]: name for name in reversed(waiting)}.values())  # the first of every gender
        if len(dev) >= len(waiting):  # too few groups for one dev group a gender
            dev = {min(name for name in part if turn[name] == 1 % n)}
        if even:
            dev = _enough(sizes, waiting)
        side = {name: "test" if not t else "dev" if name in dev else "train" for name, t in turn.items()}
        folds.append(Fold.of(labels[k], group, {u.id: side[getattr(u, group)] for u in utterances}))
    return folds


def _dealt_by_size(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """Group -> part: the largest first, each to the part that is smallest so far."""
    part, full = {}, [0] * n
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        part[name] = full.index(min(full))
        full[part[name]] += sizes[name]
    return part


def _enough(sizes: Mapping[str, int], groups: Sequence[str]) -> set[str]:
    """The smaller groups of those, in their order, until they hold a tenth of all; one of them is left."""
    wanted, dev = sum(sizes[name] for name in groups) / 10, list[str]()
    middle = sorted(sizes[name] for name in groups)[len(groups) // 2]
    for name in sorted(groups, key=lambda name: sizes[name] > middle):  # keeps the order otherwise
        if sum(sizes[d] for d in dev) >= wanted or len(dev) == len(groups) - 1:
            break
        dev.append(name)
    return set(dev)


def choose(corpus: Corpus, wanted: str | None) -> list[Fold]:
    """Folds of one corpus: `None` = the first, "all", or names separated by commas, each once.

    Raises InputError for an unknown name or a corpus without folds.
    """
    if not corpus.folds:
        raise InputError(
            f"{corpus.folder}: no folds. It has no labels or no speakers to split by. Use a labelled corpus."
        )
    if wanted is None:
        return [corpus.folds[0]]
    if wanted == "all":
        return list(corpus.folds)
    return [corpus.fold(name) for name in dict.fromkeys(n.strip() for n in wanted.split(","))]


def current(fold: str | None) -> str | None:
    """A fold's name of today, also of runs and codebooks of earlier versions."""
    return NO_HOLDOUT if fold == EARLIER_NO_HOLDOUT else fold


def names(corpora: Sequence[Corpus], wanted: str | None) -> list[str]:
    """Names of folds of several corpora. A name applies to every corpus that has it; all others are learned whole."""
    known = list(dict.fromkeys(f.name for c in corpora for f in c.folds))
    if wanted == "none" or current(wanted) == NO_HOLDOUT or not known:
        return [NO_HOLDOUT]
    if wanted == "all":
        return known
    if wanted is None:
        return known[:1]
    found = list(dict.fromkeys(n.strip() for n in wanted.split(",")))
    folders = ", ".join(str(c.folder) for c in corpora)
    check_names(f"fold of {folders}", found, known)  # held out of nothing, it would learn from all speakers
    return found


def parts(corpora: Sequence[Corpus], fold: str) -> tuple[list[list[Utterance]], list[list[Utterance]]]:
    """Training and dev utterances of every corpus for a fold's name; test people are in neither.

    What a fold does not name (recordings without labels) is learned from too, unless its speaker is tested or in dev.
    Left out as well are copies of what is tested, by content: of another corpus's test part, or not named by the fold.
    """
    splits = [_fold(corpus, fold) for corpus in corpora]
    tested = [contents.Known(_marks(c, split.test) if split else ()) for c, split in zip(corpora, splits, strict=True)]
    train, dev = [], []
    for k, (corpus, split) in enumerate(zip(corpora, splits, strict=True)):
        elsewhere = [known for j, known in enumerate(tested) if j != k and splits[j]]
        if split:
            by_id = corpus.by_id
            apart = {person(by_id[key]) for key in (*split.dev, *split.test)}
            named = {*split.train, *split.dev, *split.test}
            others = [u for u in corpus.utterances if u.id not in named and person(u) not in apart]
            if others:
                own = contents.Known(_marks(corpus, (*split.dev, *split.test)))
                others = _without(corpus, others, [own])
            learned, dev_part = [by_id[key] for key in split.train] + others, [by_id[key] for key in split.dev]
        else:
            people = sorted({person(u) for u in corpus.utterances})
            kept = set(people[9::20])
            learned = [u for u in corpus.utterances if person(u) not in kept]
            dev_part = [u for u in corpus.utterances if person(u) in kept]
        train.append(_without(corpus, learned, elsewhere))
        dev.append(_without(corpus, dev_part, elsewhere))
    return train, dev


def _fold(corpus: Corpus, fold: str | Fold) -> Fold | None:
    return fold if isinstance(fold, Fold) else next((f for f in corpus.folds if f.name == fold), None)


def _marks(corpus: Corpus, ids: Iterable[str]) -> set[str]:
    return {mark for key in ids for mark in corpus.contents[key]}


def _without(corpus: Corpus, utterances: list[Utterance], known: Sequence[contents.Known]) -> list[Utterance]:
    return [u for u in utterances if not any(k.has(corpus.contents[u.id]) for k in known)]


def with_dev(corpus: Corpus, fold: Fold, dev: str) -> Fold:
    """The fold with the dev part a protocol wants.

    "superb" is s3prl's: a random fifth of all that is not tested, drawn as torch does with seed 0 (its
    `downstream/emotion/expert.py`). The training part then has four sessions of IEMOCAP, and dev shares its speakers.
    "test" is the test part itself: what a result is worth that was chosen on it. "share" has no dev part yet: all that
    is not tested is for training, and a fifth of what labels are then taken is held back (`held_back`).
    Departure: s3prl draws from the order of its own file lists, we from that of the manifest.
    """
    if dev == "fold":
        return fold
    if dev == "test":
        return replace(fold, dev=fold.test)
    rest = set(fold.train) | set(fold.dev)
    pool = [u.id for u in corpus.utterances if u.id in rest]
    if dev == "share":
        return replace(fold, train=tuple(pool), dev=())
    order = permutation(len(pool), seed=0)
    n = int(0.8 * len(pool))
    train, dev_part = ([pool[k] for k in sorted(part)] for part in (order[:n], order[n:]))
    return replace(fold, train=tuple(train), dev=tuple(dev_part))


def held_back(utterances: Sequence[Utterance], kinds: np.ndarray, seed: int, share: float = 0.2) -> list[int]:
    """Which of these labelled utterances choose instead of teaching: about a `share`, whole speakers where there are
    several, else single ones. Every class (`kinds`, (N,)) stays among those that teach."""
    rng, wanted = np.random.default_rng([seed, 2]), share * len(utterances)
    for names in ([person(u) for u in utterances], list(range(len(utterances)))):
        index = np.unique(np.array(names), return_inverse=True)[1]
        found: list[int] = []
        left = np.bincount(kinds)
        for k in rng.permutation(index.max() + 1):
            own = np.flatnonzero(index == k)
            less = left - np.bincount(kinds[own], minlength=len(left))
            if len(found) + len(own) <= 1.5 * wanted and not ((less == 0) & (left > 0)).any():
                found, left = found + own.tolist(), less
            if len(found) >= wanted:
                break
        if found:
            return sorted(found)
    return []


def permutation(n: int, seed: int) -> list[int]:
    """`torch.randperm(n)` of a CPU generator: both draw from one Mersenne twister, torch by remainders."""
    twister = np.random.MT19937()
    twister.state = np.random.RandomState(seed).get_state(legacy=False)  # type: ignore[assignment]
    order = list(range(n))
    for k, bits in enumerate(twister.random_raw(max(n - 1, 0)).tolist()):
        other = k + bits % (n - k)
        order[k], order[other] = order[other], order[k]
    return order


# -- seen in training -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Whose audio weights or statistics know: people as `person` names them, and marks of their recordings."""

    people: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(self.people | other.people, self.contents | other.contents)

    @classmethod
    def of(cls, corpora: Sequence[Corpus], parts: Sequence[Iterable[Utterance]]) -> "Seen":
        """All people in these utterances, one part a corpus."""
        found = cls()
        for corpus, part in zip(corpora, map(list, parts), strict=True):
            marks = frozenset(mark for u in part for mark in corpus.contents.get(u.id, ()))
            found |= cls(frozenset(map(person, part)), marks)
        return found

    def keep(self, folder: Path) -> None:
        """Write seen.json: the recordings. People are named in the config.json next to it."""
        files.write_json(folder / FILE, {"contents": sorted(self.contents)})

    def test_people(self, corpora: Sequence[Corpus], fold: str | Fold) -> list[str]:
        """Test people of a fold, or of all folds of a name, who are among them: by name, or by a recording of theirs.

        A copy that the fold itself has in its training part is the fold's fault, not that of the weights.
        """
        found: set[str] = set()
        for corpus in corpora:
            if split := _fold(corpus, fold):
                tested = {person(corpus.by_id[key]) for key in split.test}
                found |= self.people_in(corpus, tested, {*split.train, *split.dev} - {*split.test})
        return sorted(found)

    def people_in(self, corpus: Corpus, asked: set[str], forgiven: Iterable[str] = ()) -> set[str]:
        """Of the people asked for those who are known, but not by copies of the utterances that are forgiven."""
        found = asked & self.people
        if self.contents and found != asked:
            known = contents.Known(self.contents - _marks(corpus, forgiven))
            rest = [u for u in corpus.utterances if (p := person(u)) in asked and p not in found]
            found |= {person(u) for u in rest if known.has(corpus.contents[u.id])}
        return found


def outside(corpus: Corpus, fold: Fold) -> list[Utterance]:
    """Utterances in none of a fold's parts, of speakers whom it neither tests nor chooses by: known by name, in none of
    their sessions, and no copy of a recording of theirs."""
    inside, apart = {*fold.train, *fold.dev, *fold.test}, [corpus.by_id[key] for key in (*fold.dev, *fold.test)]
    voices, sessions = {voice(u) for u in apart}, {u.session for u in apart} - {""}
    strangers = [u for u in corpus.utterances if u.id not in inside and u.speaker]
    strangers = [u for u in strangers if voice(u) not in voices and u.session not in sessions]
    return _without(corpus, strangers, [contents.Known(_marks(corpus, (*fold.dev, *fold.test)))]) if strangers else []


class Run(Protocol):
    """What is needed of `sottovoce.data.runs.Run`."""

    @property
    def folder(self) -> Path: ...
    @property
    def config(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Run)


def seen_by(run: Run | None) -> Seen:
    """Whose audio the weights of a run have seen, nobody's without one. Runs made before recordings were compared know
    names alone."""
    return Seen(frozenset(run.config.get("seen_speakers", ())), contents_beside(run.folder)) if run else Seen()


def seen_behind(store: TrackStore) -> Seen:
    """Whose audio the model behind a store has seen; nobody's for tracks made from recordings alone."""
    heard = own.shaped(store.head.config.get("heard", []), tuple[str, ...], store.folder / "track.json")
    return Seen(frozenset(heard), contents_beside(store.folder))


def compared_by(runs: Iterable[Run]) -> str:
    """How these runs know whom they have seen."""
    known = all((run.folder / FILE).is_file() for run in runs)
    return "names and contents of recordings" if known else "names alone: made before recordings were compared"


def contents_beside(folder: Path) -> frozenset[str]:
    """Marks of the recordings in a folder's seen.json; none where there is no such file."""
    if not (folder / FILE).is_file():
        return frozenset()
    return frozenset(own.read_json(folder / FILE, _Kept, "Make the run again.").contents)


@dataclass(frozen=True)
class _Kept:
    """What seen.json holds."""

    contents: tuple[str, ...]

    def __post_init__(self) -> None:
        contents.Known(self.contents)  # ValueError for times that are none


def tested_people(corpora: Iterable[Corpus], fold: str) -> set[str]:
    """Test people of all folds of a name."""
    return {person(c.by_id[key]) for c in corpora if (f := _fold(c, fold)) for key in f.test}


def run_for(found: Sequence[R], corpora: Sequence[Corpus], fold: str | Fold, *, transductive: bool = False) -> R:
    """The run that has not seen this fold's test people, that of the fold itself if it is among them.

    Raises InputError when every one has seen some of them, unless `transductive`.
    """
    clean = [run for run in found if not seen_by(run).test_people(corpora, fold)]
    name = fold.name if isinstance(fold, Fold) else fold
    named = [run for run in clean or found if current(run.config.get("fold")) == name]
    if clean or transductive:
        return (named or clean or list(found))[0]
    first = found[0]
    seen = seen_by(first).test_people(corpora, fold)
    renamed = [p for p in seen if p not in seen_by(first).people]
    by = f"; {len(renamed)} of them by recordings under another name" if renamed else ""
    how = f" with {', '.join(str(c.folder) for c in corpora)} among its corpora" if renamed else ""
    raise InputError(
        f"{first.folder}: its weights have seen {some(seen, name)} in training{by}. "
        f"Make a run for --fold {name} (or all){how}, or allow it by name with --transductive."
    )


def some(people: Sequence[str], fold: str) -> str:
    """`2 test speakers of fold1 (ravdess/01, ravdess/02)`"""
    return f"{len(people)} test speaker{'s' * (len(people) > 1)} of {fold} ({few(people)})"
