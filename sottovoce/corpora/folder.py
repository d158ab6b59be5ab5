"""Any folder of recordings: the class is the sub-folder, no manifest needed.

    DIR/angry/*.wav, DIR/happy/*.flac ...           `--layout class` (default)
    DIR/angry/anna/*.wav                            `--layout class/speaker`
    DIR/anna/angry/*.wav                            `--layout speaker/class`

Folders may go deeper. `--speaker-pattern REGEX` reads the speaker from the path instead (group 1 or the whole match).
`--unlabelled` takes every recording without a label, for pre-training. Names of emotions are spelt our way ("Anger"
becomes angry); see `label_maps.own_words` for other words.
Folds:    by speaker; where no speaker is known, at random by file, which is reported as leaky.
Licence:  yours to know.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from sottovoce.corpora import _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import EMOTIONS, Fold, Kind, Utterance
from sottovoce.errors import InputError, unknown_name

LICENCE = "unknown (your own files)"
SOURCE = "a folder"
TARGET = ("emotion",)
KINDS: dict[str, Kind] = {"emotion": "class"}
CLASSES = {"emotion": EMOTIONS}
LAYOUTS = ("class", "class/speaker", "speaker/class")


def utterances(
    root: Path,
    *,
    relabel: Mapping[str, str] | None = None,
    layout: str = "class",
    speaker_pattern: str = "",
    unlabelled: bool = False,
    own_classes: bool = False,
    name: str = "",
) -> list[Utterance]:
    """Every recording in a class folder.

    Args:
        root: the folder.
        relabel: see `label_maps`.
        layout: what the first one or two folders mean.
        speaker_pattern: regular expression searched in the path, relative to `root`.
        unlabelled: take everything, without labels.
        own_classes: keep class names that are no words of emotion.
        name: of the corpus; default the folder's.

    Raises:
        InputError: no folder, no recordings, no class folders, an unknown label, a pattern that never matches.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    root, speaker_of, name = (
        _layout.folder(root),
        _layout.speaker_of(speaker_pattern),
        name or Path(root).resolve().name,
    )
    paths = _layout.audio(root)
    if not paths:
        raise InputError(
            f"{root}: no recordings. Found no file ending in .wav, .flac, .mp3 or the like. Check the path."
        )
    depth = 0 if unlabelled else 1 + layout.count("/")
    placed = [path for path in paths if path.count("/") >= depth]
    if not placed:
        raise InputError(
            f"{root}: no class folders. Found {len(paths)} recordings, none in {layout} folders ({paths[0]}). "
            "Make one folder a class, use a table (`prepare table`), or --unlabelled for pre-training."
        )
    seen: dict[str, str] = {}
    place = layout.split("/").index("class")
    for path in placed if depth else ():
        seen.setdefault(path.split("/")[place], path)
    words = vocabulary.own_words(seen, relabel, str(root), own=own_classes) if depth else {}
    stems = [path.rpartition(".")[0] for path in placed]
    twice = {stem for stem, n in Counter(stems).items() if n > 1}
    found = []
    for path, stem in zip(placed, stems, strict=True):
        parts = path.split("/")
        word = words[parts[place]] if depth else None
        if word == vocabulary.DROP:
            continue
        speaker = speaker_of(path) or (
            parts[layout.split("/").index("speaker")] if "speaker" in layout and depth else ""
        )
        labels: dict[str, str | float] = {"emotion": word} if word else {}
        found.append(Utterance(path if stem in twice else stem, name, path, speaker=speaker, labels=labels))
    if speaker_pattern and not any(u.speaker for u in found):
        raise InputError(
            f"{root}: --speaker-pattern {speaker_pattern} matches no path. Found e.g. {placed[0]}. "
            "The pattern is searched in the path below the folder; try it on this one."
        )
    return found


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """5 by speaker (as many as there are speakers, at most), or 5 by file where none is known."""
    return _layout.any_folds(utterances)


def problems(root: Path, utterances: Sequence[Utterance]) -> list[str]:
    notes = []
    labelled = [u for u in utterances if u.labels]
    mute = [u for u in labelled if not u.speaker]
    if mute and len(mute) < len(labelled):
        notes.append(f"{len(mute)} recordings without a speaker are in no fold, e.g. {mute[0].path}")
    return notes
