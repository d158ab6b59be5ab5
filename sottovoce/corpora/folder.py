"""Any folder of recordings: the class is the sub-folder, no manifest needed.

    DIR/angry/*.wav, DIR/happy/*.flac ...           class
    DIR/anna/angry/*.wav                            speaker/class
    DIR/train/angry/*.wav, DIR/test/angry/*.wav     split/class

What the folders mean is found out by their names (`_folders`) and said in the data report; `--layout class/speaker`, or
any row of class, speaker, split, gender, session and * (nothing), says otherwise. Folders may go deeper.
`--speaker-pattern REGEX` reads the speaker from the path instead (group 1 or the whole match).
`--unlabelled` takes every recording without a label, for pre-training. Names of emotions are spelt our way ("Anger"
becomes angry); see `vocabulary.own_words` for other words. Of a recording in several formats the WAV or FLAC is taken.
Folds:    the split of the folders, see `_split`; else by speaker; where no speaker is known, at random by file, which
          is reported as leaky.
Licence:  yours to know.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from sottovoce.corpora import _cells, _folders, _layout, _split
from sottovoce.data import recordings, vocabulary
from sottovoce.data.corpus import Kind, Utterance
from sottovoce.errors import InputError

LICENCE = "unknown (your own files)"
SOURCE = "a folder"
KINDS: dict[str, Kind] = {"emotion": "class", "split": "class"}
CLASSES = {"split": _split.SIDES}
fold_notes = _split.fold_notes


def utterances(
    root: Path,
    *,
    relabel: Mapping[str, str] | None = None,
    layout: Annotated[str, "what sub-folders are, e.g. class/speaker; default: found out"] = "",
    speaker_pattern: Annotated[str, "regular expression that reads the speaker from the path"] = "",
    unlabelled: Annotated[bool, "recordings without labels, for pre-training"] = False,
    own_classes: Annotated[bool, "keep class names that are no words of emotion"] = False,
    name: Annotated[str, "of the corpus; default: of DIR"] = "",
) -> list[Utterance]:
    """Every recording in a class folder.

    Raises InputError: no folder, no recordings, no class folders, an unknown label, a pattern that never matches.
    """
    root, speaker_of = _layout.folder(root), _layout.speaker_of(speaker_pattern)
    name = name or root.resolve().name
    paths = _layout.audio(root)
    if not paths:
        known = "Read tar archives by `prepare tar`" if recordings.tars_below(root) else "Check the path"
        raise InputError(f"{root}: no recordings. Found no file ending in .wav, .flac, .mp3 or the like. {known}.")
    roles = [] if unlabelled else _folders.layout(paths, layout, str(root))
    depth = 0 if unlabelled else roles.index("class") + 1
    placed = [path for path in paths if path.count("/") >= depth]
    if not placed:
        raise InputError(
            f"{root}: no class folders. Found {len(paths)} recordings, none in {layout or 'class'} folders "
            f"({paths[0]}). Make one folder a class, use a table (`prepare table`), or --unlabelled for pre-training."
        )
    placed = _folders.without_copies(root, placed, roles)
    levels = [dict(zip(roles, path.split("/")[:-1], strict=False)) for path in placed]
    seen: dict[str, str] = {}
    for path, level in zip(placed, levels, strict=True):
        if "class" in level:
            seen.setdefault(level["class"], path)
    words = vocabulary.own_words(seen, relabel, str(root), own=own_classes) if depth else {}
    sides = _split.labels([level["split"] for level in levels if "split" in level], str(root))
    if len(set(map(_split.of, sides.values()))) < 2:  # one side is no split
        sides = {}
    stems = [path.rpartition(".")[0] for path in placed]
    twice = {stem for stem, n in Counter(stems).items() if n > 1}
    found = []
    for path, stem, level in zip(placed, stems, levels, strict=True):
        word = words.get(level.get("class", ""))
        if word == vocabulary.DROP:
            continue
        labels: dict[str, str | float] = {"emotion": word} if word else {}
        if side := sides.get(level.get("split", "")):
            labels["split"] = side
        speaker, session = speaker_of(path) or level.get("speaker", ""), level.get("session", "")
        speaker, session = ("" if _cells.is_nobody(who) else who for who in (speaker, session))
        id, gender = path if stem in twice else stem, _layout.gender(level.get("gender", ""))
        found.append(Utterance(id, name, path, 0.0, None, speaker, session, gender, labels))
    if speaker_pattern and not any(u.speaker for u in found):
        raise InputError(
            f"{root}: --speaker-pattern {speaker_pattern} matches no path. Found e.g. {placed[0]}. "
            "The pattern is searched in the path below the folder; try it on this one."
        )
    return found


def problems(root: Path, utterances: Sequence[Utterance], *, layout: str = "", unlabelled: bool = False) -> list[str]:
    notes = _split.notes(utterances)
    if unlabelled or layout:
        return notes
    roles = _folders.layout(_layout.audio(Path(root)), "", str(root))
    if roles != ["class"]:
        example = next((u.path for u in utterances if u.path.count("/") >= len(roles)), utterances[0].path)
        notes.append(f"folders are read as {'/'.join(roles)} ({example}); --layout says otherwise")
    return notes
