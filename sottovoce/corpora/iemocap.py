"""IEMOCAP: 10 actors in 5 sessions, English; emotions, valence, arousal, dominance.

Source:   https://sail.usc.edu/iemocap (on request), official release: Session1..5/dialog/EmoEvaluation/*.txt and
          Session*/sentences/wav/<dialogue>/<turn>.wav.
Licence:  research only, by agreement with USC SAIL.
Size:     10,039 turns, 12 h, of which 5,531 (7.0 h) in the usual four classes.
Labels:   emotion; category, the annotators' majority in the corpus's own words; valence, activation, dominance
          (means, 1 to 5); style (improvised, scripted).
Protocol: "4class" (default): neutral, happy, sad, angry with excited counted as happy; nothing else. "all": every
          turn and every class, excited and frustrated among them; turns without a majority have no emotion.
          `--map` and `--drop` go before the protocol.
Speaker:  the letter before the last number of the id is who speaks (Ses01F_impro01_M003: the man of session 1).
Folds:    `--split session` (default): leave one session out; the next session is dev, so no speaker and no dialogue
          partner is shared. `--split speaker`: leave one of the ten speakers out; both speakers of the next session are
          dev, and the partner of who is tested is trained on, as in the literature. `--split emobox`: EmoBox's five
          sessions, dev a random 20 % of the other four, so that dev shares its speakers with training (its seed, 12;
          drawn by NumPy from the order of the manifest, so these are not the very utterances of its lists).
Counts:   5,531 = 1,708 neutral + 1,636 happy (595 + 1,041 excited) + 1,103 angry + 1,084 sad, and per session as in
          s3prl's lists (`downstream/emotion/meta_data`); a copy that differs is reported.
Cite:     Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee & Narayanan, "IEMOCAP: interactive emotional dyadic
          motion capture database", Language Resources and Evaluation 42(4), 2008.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from sottovoce.corpora import _cells, _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import EMOTIONS, Fold, Kind, Utterance
from sottovoce.data.folds import group_folds
from sottovoce.errors import InputError, check_names, few

LICENCE = "research only, by agreement with USC SAIL"
SOURCE = "https://sail.usc.edu/iemocap"
KINDS: dict[str, Kind] = {
    **{"emotion": "class", "category": "class", "style": "class"},
    **{"valence": "number", "activation": "number", "dominance": "number"},
}
RANGES = dict.fromkeys(("valence", "activation", "dominance"), (1.0, 5.0))
LABELS = {
    **{"neu": "neutral", "hap": "happy", "exc": "excited", "sad": "sad", "ang": "angry", "fru": "frustrated"},
    **{"fea": "fear", "sur": "surprise", "dis": "disgust", "oth": "other", "xxx": "xxx"},  # xxx: no majority
}
CLASSES = {"emotion": (*EMOTIONS, "excited", "frustrated", "other"), "style": ("improvised", "scripted")}
OTHERS = ("frustrated", "fear", "surprise", "disgust", "other", "xxx")
PROTOCOLS: dict[str, dict[str, str]] = {
    "4class": {"excited": "happy", **dict.fromkeys(OTHERS, vocabulary.DROP)},
    "all": {},
}
SPLITS = ("session", "speaker", "emobox")
EMOBOX_SEED = 12
COUNTS = {  # 4 classes, by session: neutral, happy with excited, angry, sad
    "Ses01": {"neutral": 384, "happy": 278, "angry": 229, "sad": 194},
    "Ses02": {"neutral": 362, "happy": 327, "angry": 137, "sad": 197},
    "Ses03": {"neutral": 320, "happy": 286, "angry": 240, "sad": 305},
    "Ses04": {"neutral": 258, "happy": 303, "angry": 327, "sad": 143},
    "Ses05": {"neutral": 384, "happy": 442, "angry": 170, "sad": 245},
}
DIALOGUE = re.compile(r"Ses\d\d[FM]_\w+\.txt")  # what an evaluation file is called
LAYOUT = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and Session1/sentences/wav/Ses01F_impro01/*.wav"
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
TURN = re.compile(r"\[[\d.]+ - [\d.]+\]\s+(Ses\d\d[FM]_\S+)\s+(\w+)\s+\[([^,]+),([^,]+),([^\]]+)\]")


@dataclass(frozen=True)
class Turn:
    """A line of an evaluation file."""

    id: str
    word: str
    affect: tuple[float, ...]  # valence, activation, dominance
    file: str


def utterances(
    root: Path,
    *,
    relabel: Mapping[str, str] | None = None,
    protocol: Annotated[str, "4class (5,531 utterances) or all"] = "4class",
) -> list[Utterance]:
    """The turns that have both a label and a recording; a copy with some of the sessions will do.

    Raises InputError: no evaluation files, one without a turn, a turn with two labels, no recordings, or a word that
    does not exist.
    """
    check_names("protocol of iemocap", [protocol], PROTOCOLS)
    words = vocabulary.rename(LABELS, relabel, "iemocap", PROTOCOLS[protocol])
    recordings = _recordings(root)
    found = []
    for turn in _turns(root):
        word = vocabulary.look_up(words, turn.word, f"{turn.file}, {turn.id}")
        if word == vocabulary.DROP or turn.id not in recordings:
            continue
        session, gender = turn.id[:5], turn.id.rsplit("_", 1)[1][0]
        labels = _layout.labels_of(
            {
                "emotion": None if word == "xxx" else word,
                "category": turn.word,
                "style": "scripted" if "script" in turn.id else "improvised",
                **dict(zip(RANGES, turn.affect, strict=True)),
            }
        )
        speaker, sex = f"{session}{gender}", {"F": "female", "M": "male"}[gender]
        found.append(Utterance(turn.id, "iemocap", recordings[turn.id], 0.0, None, speaker, session, sex, labels))
    if not found:
        raise InputError(
            f"{root}: no turn of IEMOCAP with label and recording. Looked for {LAYOUT}. Complete the copy."
        )
    return found


def folds(
    utterances: Sequence[Utterance],
    *,
    split: Annotated[str, "who is tested: session, speaker, or emobox (dev shares speakers)"] = "session",
) -> list[Fold]:
    """By session, by speaker or as EmoBox has it, see above; named after what is tested.

    Raises InputError for an unknown split, and where there are too few sessions for it.
    """
    check_names("split of iemocap", [split], SPLITS)
    labelled = [replace(u, gender="") for u in utterances if "emotion" in u.labels]  # a session has both genders
    sessions = sorted({u.session for u in labelled})
    named = sessions if len(sessions) > 2 else None
    by_session = group_folds(labelled, max(3, len(sessions)), group="session", names=named)
    if split == "speaker":
        return [part for fold in by_session for part in _by_speaker(fold, labelled)]
    return by_session if split == "session" else [_shared_dev(fold, labelled) for fold in by_session]


def _by_speaker(fold: Fold, utterances: Sequence[Utterance]) -> Iterator[Fold]:
    """The fold of a session twice, with one of its two speakers in training."""
    tested, dev = set(fold.test), set(fold.dev)
    for name in sorted({u.speaker for u in utterances if u.id in tested}):
        sides = {u.id: "dev" if u.id in dev else "test" if u.speaker == name else "train" for u in utterances}
        yield Fold.of(name, "speaker", sides)


def _shared_dev(fold: Fold, utterances: Sequence[Utterance]) -> Fold:
    tested = set(fold.test)
    pool = [u.id for u in utterances if u.id not in tested]
    dev = np.random.default_rng(EMOBOX_SEED).permutation(len(pool))[int(0.8 * len(pool)) :]
    sides = dict.fromkeys(fold.test, "test") | dict.fromkeys(pool, "train") | {pool[k]: "dev" for k in dev}
    return Fold.of(fold.name, fold.group, sides)


def problems(root: Path, utterances: Sequence[Utterance]) -> list[str]:
    """Missing sessions, recordings and labels, and counts that are not those of the four-class protocol."""
    recordings, turns = _recordings(root), list(_turns(root))
    notes = []
    if mute := [turn.id for turn in turns if turn.id not in recordings]:
        notes.append(f"{len(mute)} labelled turns without a recording, left out: {', '.join(mute[:5])}")
    if untold := sorted(recordings.keys() - {turn.id for turn in turns}):
        notes.append(f"{len(untold)} recordings of turns that no evaluation file labels, left out: {few(untold, 5)}")
    there = {turn.id[:5] for turn in turns if turn.id in recordings}
    if missing := [session for session in COUNTS if session not in there]:
        notes.append(f"partial copy: no {', '.join(missing)}. Results are not comparable with the 5,531 protocol")
        return notes
    copied = _four_classes(turn for turn in turns if turn.id in recordings)
    wanted = {(session, name): n for session, counts in COUNTS.items() for name, n in counts.items()}
    if wrong := [f"{' '.join(key)} {copied[key]} instead of {n}" for key, n in wanted.items() if copied[key] != n]:
        some, total = "; ".join(wrong[:4]) + ("; ..." if wrong[4:] else ""), copied.total()
        notes.append(
            f"NOT the copy of the four-class protocol: {total} utterances instead of 5,531 ({some}). Check the copy"
        )
    read = Counter((u.session, str(u.labels["emotion"])) for u in utterances if "emotion" in u.labels)
    if any(name not in COUNTS["Ses01"] for _, name in read):
        notes.append("other classes than the four of the 5,531 protocol: not comparable with its results")
    elif read != copied:
        notes.append("classes changed by --map or --drop: not comparable with the results of the 5,531 protocol")
    return notes


def _four_classes(turns: Iterable[Turn]) -> Counter[tuple[str, str]]:
    """How many turns of a session the four-class protocol takes, whatever was asked for: what a copy is checked by."""
    words = vocabulary.rename(LABELS, None, "iemocap", PROTOCOLS["4class"])
    named = ((turn.id[:5], vocabulary.look_up(words, turn.word, f"{turn.file}, {turn.id}")) for turn in turns)
    return Counter((session, word) for session, word in named if session in COUNTS and word != vocabulary.DROP)


def _turns(root: Path) -> Iterator[Turn]:
    """Every labelled turn once. Only files directly in EmoEvaluation: its sub-folders hold single votes.

    Raises InputError: no such file, one without a turn, a damaged line, or two files that differ about a turn.
    """
    seen: dict[str, Turn] = {}
    paths = [p for p in _layout.files(root) if Path(p).parent.name == "EmoEvaluation" and p.endswith(".txt")]
    if not paths:
        raise InputError(f"{root}: not IEMOCAP. Looked for {LAYOUT}. Found no EmoEvaluation folder with labels.")
    for path in paths:
        found = _turns_in(Path(root), path)
        if not found and DIALOGUE.fullmatch(Path(path).name):
            size = (Path(root) / path).stat().st_size
            raise InputError(
                f"{Path(root) / path}: no labelled turn. Found {size} bytes without one. Take the file from the "
                "archive again."
            )
        for turn in found:
            first = seen.setdefault(turn.id, turn)
            if first is turn:
                yield turn
            elif replace(turn, file=first.file) != first:
                here, before = (f"{t.word} {list(t.affect)}" for t in (turn, first))
                raise InputError(
                    f"{Path(root) / path}: turn {turn.id} has two labels. Found {here}, and {before} in {first.file}. "
                    "Keep one of them."
                )


def _turns_in(root: Path, path: str) -> list[Turn]:
    """The turns of one evaluation file; annotators' remarks between them may be of any encoding."""
    found = []
    for number, line in enumerate(_layout.lines_of(_layout.read_text(root / path, errors="replace")), 1):
        line = line.strip()
        if not line.startswith("["):  # single votes
            continue
        match = TURN.match(line)
        affect = [_cells.number(value.strip(), ".") for value in match.groups()[2:]] if match else [None]
        if match is None or None in affect:
            raise InputError(
                f"{root / path}, line {number}: not a labelled turn. Found {line[:60]!r}. Expected [start - "
                "end], turn, emotion and [valence, activation, dominance]. Take the file from the archive again."
            )
        found.append(Turn(match[1], match[2], tuple(value for value in affect if value is not None), path))
    return found


def _recordings(root: Path) -> dict[str, str]:
    """{turn: path}; dialogues as a whole are in other folders and have no turn's name."""
    pattern = r"(Ses\d\d[FM]_\w+_[FM]\d{3})"
    try:
        return {m.group(1): path for path, m in _layout.matching(root, pattern, "IEMOCAP", "Ses01F_impro01_F000.wav")}
    except InputError as error:
        raise InputError(f"{error} The labels alone are not enough: complete the copy ({LAYOUT}).") from None
