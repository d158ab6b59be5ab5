"""A split as tables and folders tell it: which words are sides, and what folds follow from them.

    Train, training, train-clean-100, TrainSet        train
    dev, devel, Development, val, valid, validation   dev
    test, Test1, test_2, eval, holdout, test-other    test; several of them are one fold each, named after the set
    1 ... 5, Ses01 ... Ses05, A, B, C                 parts that are tested in turn

A test set is never trained on, nor is anything tested that a side called train holds.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sottovoce.corpora import _cells, _layout
from sottovoce.data.corpus import Fold, Utterance
from sottovoce.errors import InputError
from sottovoce.files import folder_name, unused_name

SIDES = ("train", "dev", "test")
DEV_SHARE = 0.1  # of the training part, where a split has no dev
_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainset", "trainingset", "trainval", "traindev"), "train"),
    **dict.fromkeys(("dev", "devel", "development", "val", "valid", "validation", "validate", "devset"), "dev"),
    **dict.fromkeys(("valset", "validationset", "developmentset", "tune", "tuning"), "dev"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "eval", "evaluation", "evalset", "holdout"), "test"),
    **dict.fromkeys(("heldout",), "test"),
}
_SHORT = {"tr": "train", "dv": "dev", "va": "dev", "vl": "dev", "cv": "dev", "te": "test", "ts": "test", "tt": "test"}
_EVAL = frozenset({"eval", "evaluation", "evalset"})
_TURNS = frozenset({"cv", "cross", "crossvalidation", "xval"})  # "validation" is no side here
_UNUSED = frozenset(
    {"unused", "exclude", "excluded", "ignore", "ignored", "extra", "other", "unlabelled", "unlabeled", "skip"}
)


def side(word: str) -> str:
    """ "train", "dev", "test" or "" for a word that is none of them.

    >>> [side(word) for word in ("Train", "train-clean-100", "Test_2", "valid", "Holdout", "TestSet", "hold-out")]
    ['train', 'train', 'test', 'dev', 'test', 'test', 'test']
    >>> [side(word) for word in ("1", "Ses01", "contest", "cross-validation 3", "train/test")]
    ['', '', '', '', '']
    """
    tokens = _tokens(word)
    if _TURNS & set(tokens):
        return ""
    sides = {_WORDS[token] for token in tokens if token in _WORDS}
    return sides.pop() if len(sides) == 1 else ""


def side_of(root: Path, path: Path) -> str:
    """The word of a split in a file's name or folders: `train-00000-of-00002`, `default/test/0000`; "" without."""
    words = [of_all_shards(path.stem), *reversed(path.relative_to(root).parts[:-1])]
    return next((word for word in words if side(word)), "")


_NUMBER = re.compile(r"[-_. ]((shard|part|chunk)[-_. ]?)?\d+([-_]of[-_]\d+)?(-[0-9a-f]{8,})?$", re.IGNORECASE)


def of_all_shards(stem: str) -> str:
    """What the names of the files of one split share; a number without a sign before it is the split's own.

    >>> [of_all_shards(f"test{end}") for end in ("-00000-of-00002-0123456789abcdef", "_shard_000", ".part0", "_0", "2")]
    ['test', 'test', 'test', 'test', 'test2']
    """
    return _NUMBER.sub("", stem)


def _tokens(word: str) -> list[str]:
    """ "Test_2" as ["test", "2"], "TrainSet" as ["train", "set"]."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word)
    word = re.sub(r"(hold|held)[\s_-]*out", r"\1out", word.casefold())
    return re.findall(r"[^\W\d_]+|\d+", word)


def labels(words: Iterable[str], where: str) -> dict[str, str]:
    """What every word of a split column (or level of folders) means: "train", "dev", "test", the name of a test set
    where there are several, or the word itself where parts are tested in turn. "" is in no fold.

    >>> labels(["Train", "Development", "Test1", "Test2"], "")
    {'Train': 'train', 'Development': 'dev', 'Test1': 'test1', 'Test2': 'test2'}
    >>> labels(["train", "val", "eval"], ""), labels(["1", "2", "3"], "")
    ({'train': 'train', 'val': 'dev', 'eval': 'test'}, {'1': '1', '2': '2', '3': '3'})

    Raises InputError where words of both sorts stand together.
    """
    words = list(dict.fromkeys(words))
    unused = {word for word in words if _cells.is_unknown(word) or word.strip().casefold() in _UNUSED}
    sides = {word: side(word) for word in words if word not in unused}
    short = {word: _SHORT.get(word.strip().casefold(), name) for word, name in sides.items()}
    if {"train", "test"} <= set(short.values()):  # alone, te is a language
        sides = short
    if not any(sides.values()):
        return {word: "" if _cells.is_unknown(word) else _cells.whole(word) for word in words}
    strange = [word for word, name in sides.items() if not name]
    if strange:
        raise InputError(
            f"{where}: split {strange[0]!r} next to {', '.join(word for word, name in sides.items() if name)}. Call "
            "all of them train, dev or test (or test1, test2 ...), or parts that are tested in turn, or leave it empty."
        )
    if "dev" not in sides.values():
        tests = {word for word, name in sides.items() if name == "test"}
        evals = {word for word in tests if _EVAL & set(_tokens(word))}
        if evals and tests - evals:  # train, eval and test: what is called eval chooses
            sides |= dict.fromkeys(evals, "dev")
    named = {word: _set_name(word) for word, name in sides.items() if name == "test"}
    if len(set(named.values())) < 2:
        named = dict.fromkeys(named, "test")
    return dict.fromkeys(words, "") | sides | named


def _set_name(word: str) -> str:
    """ "Test_2" as "test2", "Testing" as "test", "test clean" as "test-clean"."""
    name = ""
    for token in _tokens(word):
        if token in ("set", "split", "data"):
            continue
        token = "test" if token in ("testing", "tst", "testset") else token
        name += token if token.isdigit() or not name else f"-{token}"
    return name


def is_split(parts: Iterable[str]) -> bool:
    """Whether labels made by `labels` are sides, not parts that are tested in turn."""
    return any(map(side, parts))


def of(part: str) -> str:
    """The side of a part as `labels` names it: test1 is test."""
    return part if part in SIDES else side(part) or part


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """The split that the label "split" tells, else folds by speaker, else random folds by file.

    A split of sides is one fold a test set; where there is none but a dev part, that one is tested and a tenth of train
    chooses. Parts are tested in turn, the next one being dev.

    Raises InputError: a split without train or test, fewer than three parts or speakers.
    """
    told = [u for u in utterances if "split" in u.labels and len(u.labels) > 1]
    if not told:
        return _layout.any_folds(utterances)
    parts = sorted({str(u.labels["split"]) for u in told}, key=_by_number)
    where = told[0].corpus
    if not is_split(parts):
        if len(parts) < 3:
            raise InputError(
                f"{where}: a split of {len(parts)} parts. Found {', '.join(parts)}; 3 are needed. "
                "If it is no split: --split-column none."
            )
        index = [parts.index(str(u.labels["split"])) for u in told]
        group, names = _group(told), folder_names([f"fold{p}" if p.isdecimal() else p for p in parts])
        return [_layout.parts_fold(told, index, k, name, group, len(parts)) for k, name in enumerate(names)]
    members: dict[str, list[Utterance]] = {name: [] for name in SIDES}
    for u in told:
        members.setdefault(str(u.labels["split"]), []).append(u)
    tests = _tested(parts)
    for name, there in (("train", bool(members["train"])), ("test", bool(tests))):
        if not there:
            raise InputError(f"{where}: a split without {name}. Found {', '.join(parts)}. Name some rows {name}.")
    train, dev = members["train"], members["dev"]
    if not dev or "dev" in tests:
        train, dev = _cut_dev(train)
    rest = tuple(u.id for u in train), tuple(u.id for u in dev)
    names = ["split"] if len(tests) == 1 else folder_names(tests)
    return [
        Fold(name, _group([*train, *dev, *members[part]]), *rest, tuple(u.id for u in members[part]))
        for name, part in zip(names, tests, strict=True)
    ]


def notes(utterances: Sequence[Utterance]) -> list[str]:
    """What the data report says about a split."""
    found = []
    labelled = [u for u in utterances if set(u.labels) - {"split"}]
    told = [u for u in labelled if "split" in u.labels]
    mute = [u for u in labelled if not u.speaker]
    if mute and len(mute) < len(labelled):
        gone = "" if told else " are in no fold; --group none deals them by file (leaky)"
        found.append(f"{len(mute)} rows without a speaker{gone}")
    bare = len(utterances) - len(labelled)
    if bare and labelled:
        found.append(f"{bare} rows have no label and are in no fold; `finetune` learns from those of training speakers")
    if not told:
        return found
    if mute:
        found.append("speakers are not known for every row: nobody can say whether the split shares some")
    if both := shared(labelled):
        found.append(f"the split SHARES {len(both)} speakers between its sides ({', '.join(list(both)[:5])})")
    return found


def fold_notes(utterances: Sequence[Utterance]) -> list[str]:
    """What it says about the folds that a split makes."""
    labelled = [u for u in utterances if set(u.labels) - {"split"}]
    told = [str(u.labels["split"]) for u in labelled if "split" in u.labels]
    parts, found = set(told), list[str]()
    if not parts:
        return found
    if not is_split(parts):
        some = ", ".join(sorted(parts, key=_by_number)[:5])
        found.append(f"the split has {len(parts)} parts that are tested in turn ({some}): no train, no test")
    tests = _tested(sorted(parts, key=_by_number))
    if "dev" in tests:
        found.append(f"the split has no test part: its dev part is tested, and {DEV_SHARE:.0%} of train is dev")
    elif is_split(parts) and "dev" not in parts:
        found.append(f"the split has no dev part: {DEV_SHARE:.0%} of train was taken")
    if is_split(parts) and len(tests) > 1:
        found.append(f"{len(tests)} test sets, a fold each: {', '.join(tests)}; all of them train on the same part")
    if outside := len(labelled) - len(told):
        found.append(f"{outside} rows have no split and are in no fold")
    return found


def shared(utterances: Iterable[Utterance]) -> dict[str, set[str]]:
    """Speakers on more than one side of the split, or in more than one of the parts that are tested in turn."""
    sides: dict[str, set[str]] = {}
    for u in utterances:
        if u.speaker and "split" in u.labels:
            sides.setdefault(u.speaker, set()).add(of(str(u.labels["split"])))
    return {speaker: parts for speaker, parts in sorted(sides.items()) if len(parts) > 1}


def _tested(parts: Sequence[str]) -> list[str]:
    """The test sets of a split; its dev part where there is no other."""
    return [part for part in parts if of(part) == "test"] or [part for part in parts if part == "dev"]


def _group(told: Sequence[Utterance]) -> str:
    """What a split is known to keep apart."""
    return "speaker" if all(u.speaker for u in told) and not shared(told) else "none"


def _cut_dev(train: list[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """A tenth of the training part, whole speakers where they are known."""
    whole = all(u.speaker for u in train) and len({u.speaker for u in train}) > 1
    groups: dict[str, list[Utterance]] = {}
    for u in sorted(train, key=lambda u: u.id):
        groups.setdefault(u.speaker if whole else u.id, []).append(u)
    names, dev = sorted(groups), set[str]()
    for k in np.random.default_rng(0).permutation(len(names))[:-1]:  # one group stays
        dev |= {u.id for u in groups[names[k]]}
        if len(dev) >= DEV_SHARE * len(train):
            break
    return [u for u in train if u.id not in dev], [u for u in train if u.id in dev]


def _by_number(part: str) -> tuple:
    digits = re.sub(r"\D", "", part)
    return (int(digits) if digits else -1, part)


def folder_names(names: Sequence[str]) -> list[str]:
    """Names of folds that can be names of folders, each another: a run writes one a fold.

    >>> folder_names(["Ses01", "../../x", "/etc", "a/b", "A:b", ".."])
    ['Ses01', 'x', 'etc', 'a_b', 'A_b-2', '_']
    """
    taken: set[str] = set()
    return [unused_name(folder_name(name), taken) for name in names]
