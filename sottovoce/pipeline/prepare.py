"""`sottovoce prepare`: a corpus folder or a table -> manifest, speaker-disjoint folds, data report.

    reader (corpora/NAME.py)  ->  utterances        names and labels, `--map` and `--drop` applied
    scan                      ->  what is on disk    every recording decoded once: broken ones are left out here
    folds                     ->  who is tested      from the reader, or `--folds` and `--group`
    Corpus.save               ->  manifest.csv, folds.json, corpus.json, then report.json and report.html

Every other command trusts the manifest this one wrote.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import __version__, files
from sottovoce.corpora import _layout, base
from sottovoce.corpora._options import GIVEN
from sottovoce.corpora.base import Reader
from sottovoce.data import archives, contents, vocabulary
from sottovoce.data.corpus import EMOTIONS, Corpus, Fold, Kind, Utterance
from sottovoce.data.folds import group_folds
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError, few
from sottovoce.pipeline import remarks, scan
from sottovoce.pipeline.scan import Look
from sottovoce.report import data_page

MEANING = {
    "silent": "silent",
    "short": f"shorter than {scan.SHORT_S} s",
    "duplicate": "the same samples as an earlier one",
    "clipped": "at full scale, may be clipped",
}
SPREAD: dict[str, Callable[..., Any]] = {"min": np.min, "median": np.median, "mean": np.mean, "max": np.max}
FEW = 12  # values of a class label that still make a readable table


@dataclass(frozen=True)
class Fetch:
    """The folder a corpus is fetched into first, and a mirror to fetch it from."""

    folder: Path
    mirror: str = ""


@dataclass(frozen=True)
class Asked:
    """What any corpus may be asked for; a reader's own options come apart. Raises InputError for what there is not."""

    relabel: Mapping[str, str] = field(default_factory=dict)  # class -> new name, or "" to leave it out
    folds: int | None = None  # how many; None: the reader's
    group: str = ""  # what they keep apart: speaker, session, none (leaky); "": what the reader's do
    leave_out: Sequence[str] = ()  # problems, see `scan.PROBLEMS`, whose recordings are dropped too
    decode: bool = True  # every recording; False reads headers only

    def __post_init__(self) -> None:
        if self.group not in ("", "speaker", "session", "none"):
            raise InputError(f"--group {self.group}: not a group. Choose speaker, session or none.")
        if unknown := [problem for problem in self.leave_out if problem not in scan.PROBLEMS]:
            raise InputError(f"--leave-out {unknown[0]}: not a problem. There are: {', '.join(scan.PROBLEMS)}.")


def prepare(
    name: str,
    source: Path | None,
    out: Path,
    asked: Asked = Asked(),
    *,
    options: Mapping[str, Any] | None = None,
    download: Fetch | None = None,
    jobs: int | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Everything `main` does but printing. Nothing is written before all of it is known to be good.

    Args:
        name: a module of `corpora/`.
        source: folder (or table) to read; None takes `download`, or a folder in `out` for a corpus that is generated.
        out: folder to write.
        options: keyword arguments of the reader.
        jobs: processes.

    Returns:
        the data report, as in report.json.

    Raises:
        InputError: not that corpus, nothing usable in it, one class only, duplicate ids, too few speakers for the
            folds, an option or class name the reader does not have.
    """
    reader, given = base.reader(name), dict(options or {})
    fetched: list[dict] = []
    if download is not None:
        fetched, source = _download(reader, download, given, quiet), source or download.folder
    root = _root(reader, source, out, given)
    folder = root if root.is_dir() else root.parent
    divide = _dividing(reader, given, asked)
    fetching = _keywords(reader.download) if fetched and reader.download else []
    read = _accepted(reader, given, unused=(*divide, *fetching))
    utterances, warnings = _read(reader, root, Path(out), read, asked.relabel)
    looks, problems, print_of_audio = _scanned(reader, folder, utterances, Path(out), asked.decode, jobs, quiet)
    kept, lost = _without(utterances, looks, problems, asked.leave_out)
    if not kept:
        why = next((look.why for look in looks.values() if look.why), "--leave-out took all of them")
        raise InputError(f"{root}: not one usable recording. Found {len(utterances)}; the first says: {why}")
    kinds = _kinds(reader, kept)
    classes, target = _classes(reader, kept, kinds), _target(reader, kinds)
    learned = {label: classes[label] for label in target if kinds[label] == "class"}
    _check_classes(root, kept, learned)
    split = _folds(reader, kept, asked, divide)
    check_folds(kept, split)
    warnings += lost + _own_folds(reader, kept, split, asked) + remarks.similar_speakers(kept, split)
    warnings += remarks.votes(kept)
    warnings += remarks.long_clips({u.id: looks[u.id].seconds for u in kept})
    warnings += remarks.lone_classes(kept, learned)
    warnings += _fold_warnings(kept, split, learned, problems.get("duplicate", []))
    warnings += _word_warnings(reader, fetched, classes, asked.relabel)
    info = {
        **{"reader": name, "source": reader.SOURCE, "licence": reader.LICENCE, "target": target},
        "ranges": {label: pair for label, pair in reader.RANGES.items() if label in kinds},
        **{"tracks": list(reader.TRACKS), "map": dict(asked.relabel)},
        "options": files.plain({key: str(v) if isinstance(v, Path) else v for key, v in given.items()}),
        "folds": {"n": len(split), "asked": asked.folds, "group": asked.group or (split[0].group if split else "")},
        **{"left_out": list(asked.leave_out), "scanned": asked.decode and not reader.TRACKS},
        **{"audio_digest": print_of_audio, "download": fetched, "warnings": warnings, "sottovoce": __version__},
    }
    corpus = Corpus(Path(out), kept[0].corpus, folder.resolve(), tuple(kept), tuple(split), kinds, classes, info)
    report = data_report(corpus, reader, looks, problems)
    corpus.save()
    if not reader.TRACKS:
        contents.save(corpus.folder, _contents([looks[u.id] for u in kept]))
    files.write_json(corpus.folder / "report.json", report)
    files.write_text(corpus.folder / "report.html", data_page(report))
    if info["scanned"]:
        scan.save(corpus.folder / scan.FILE, utterances, looks)
    return report


# -- reading ------------------------------------------------------------------------------------------------


def _read(
    reader: Reader, root: Path, out: Path, read: dict[str, Any], relabel: Mapping[str, str]
) -> tuple[list[Utterance], list[str]]:
    """The utterances under their new class names, and what there is to say about them."""
    accepted, late = inspect.signature(reader.utterances).parameters, relabel
    if "into" in accepted:  # recordings that lie inside a table
        read["into"] = out / "recordings"
    if "relabel" in accepted:
        read["relabel"], late = relabel, {}
    utterances = list(reader.utterances(root, **read))
    if late:
        utterances = vocabulary.apply(utterances, late, _class_label(reader, utterances), reader.name)
    if not utterances:
        raise InputError(
            f"{root}: no utterances. Every one was left out, or there are none. Check --drop and the folder."
        )
    twice = [name for name, n in Counter(u.id for u in utterances).items() if n > 1]
    if twice:
        raise InputError(
            f"{root}: duplicate ids. Found {len(twice)}, e.g. {', '.join(twice[:5])}. Every utterance needs its own."
        )
    return utterances, _notes(reader, root, read, utterances)


def _dividing(reader: Reader, given: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """Options of the reader's own folds."""
    divide = {key: given[key] for key in _keywords(reader.folds) if key in given}
    for key, value in divide.items():
        if asked.folds is not None or asked.group:
            raise InputError(
                f"--{key} {value}: {reader.name}'s own folds. Found --folds or --group too. Use one or the other."
            )
    return divide


def _root(reader: Reader, source: Path | None, out: Path, options: dict[str, Any]) -> Path:
    """The folder to read; a corpus that is generated is generated now."""
    generate = reader.generate_into
    if source is None and generate is None:
        fetch = " or fetch it with --download DIR" if reader.download else ""
        raise InputError(f"prepare {reader.name}: no folder. Name the one that holds the corpus{fetch}.")
    root = Path(source) if source is not None else Path(out) / "recordings"
    if reader.locate and not root.exists():
        kept = reader.locate(str(source))
        if kept is None:
            raise InputError(
                f"{root}: no such folder, and no such dataset in the hub's cache. Fetch it: hf download {root} "
                "--repo-type dataset"
            )
        root = kept
    if generate is not None and (options or not root.exists() or not any(root.iterdir())):
        generate(root, **options)
    if not root.exists():
        raise InputError(f"{root}: no such folder. Check the path of the corpus.")
    return root


def _keywords(function: Callable) -> list[str]:
    """Names of a function's keyword arguments, which are options of a reader."""
    parameters = inspect.signature(function).parameters
    return [key for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and key not in GIVEN]


def _accepted(reader: Reader, given: Mapping[str, Any], unused: Sequence[str]) -> dict[str, Any]:
    """The options that `utterances` has. Raises InputError naming one that the reader has not."""
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(reader.utterances).parameters.values()):
        return {key: value for key, value in given.items() if key not in unused}
    own = _keywords(reader.utterances)
    for key in given:
        if key not in own and key not in unused:
            flag = f"--{key.replace('_', '-')}"
            if reader.download and key in _keywords(reader.download):
                raise InputError(f"prepare {reader.name}: no option {flag} without --download. Leave it out.")
            words = ", ".join("--" + word.replace("_", "-") for word in own + _keywords(reader.folds)) or "none"
            raise InputError(f"prepare {reader.name}: no option {flag}. It has: {words}. Leave it out.")
    return {key: value for key, value in given.items() if key in own}


def _download(reader: Reader, to: Fetch, options: Mapping[str, Any], quiet: bool) -> list[dict]:
    if reader.download is None:
        raise InputError(
            f"prepare {reader.name}: cannot be downloaded here. {reader.LICENCE}. Get it from {reader.SOURCE}."
        )
    bars: dict[str, Bar] = {}

    def progress(file: str, done: int, total: int) -> None:
        if file not in bars:
            bars[file] = Bar(total or done, file, quiet=quiet)
        bars[file].advance(done - bars[file].done, MB=done / 1e6)

    more: dict[str, Any] = {"base_url": to.mirror} if to.mirror else {}
    accepted = inspect.signature(reader.download).parameters
    more |= {key: value for key, value in options.items() if key in accepted}
    try:
        return reader.download(to.folder, progress=progress, **more)
    finally:
        for bar in bars.values():
            bar.close()


def _class_label(reader: Reader, utterances: Sequence[Utterance]) -> str:
    """The label `--map` and `--drop` are about."""
    present = {key for u in utterances for key, value in u.labels.items() if isinstance(value, str)}
    label = next((t for t in (*reader.TARGET, "emotion", *sorted(present - {"split"})) if t in present), None)
    if label is None:
        raise InputError(f"prepare {reader.name}: --map and --drop need class labels. Found none. Leave them out.")
    return label


def _notes(reader: Reader, root: Path, read: Mapping[str, Any], utterances: Sequence[Utterance]) -> list[str]:
    """What the reader has to say, and recordings that were left out."""
    asked = {key: read[key] for key in _keywords(reader.problems) if key in read}
    notes = list(reader.problems(root, utterances, **asked))
    if root.is_dir() and not reader.TRACKS:
        used = {u.path for u in utterances}
        other = [path for path in _layout.audio(root) if path not in used]
        if other:
            notes.append(f"in the folder but not used: {len(other)} ({few(other)})")
    return notes


# -- scanning -----------------------------------------------------------------------------------------------


def _scanned(
    reader: Reader,
    folder: Path,
    utterances: Sequence[Utterance],
    out: Path,
    decode: bool,
    jobs: int | None,
    quiet: bool,
) -> tuple[dict[str, Look], dict[str, list], str]:
    """What every recording holds, what is wrong, and a hash of the audio; of features only their spans are known."""
    if reader.TRACKS:
        spans = {u.id: None if u.end is None else u.end - u.start for u in utterances}
        return {id: Look(id, seconds=s) for id, s in spans.items()}, {}, _stat_digest(folder, utterances)
    looks = scan.look_at(folder, utterances, decode=decode, kept=out / scan.FILE, jobs=jobs, quiet=quiet)
    sound = sorted((look.id, look.digest) for look in looks.values() if not look.why)
    audio = files.digest(sound) if decode else _stat_digest(folder, utterances)
    return looks, scan.find_problems(utterances, looks), audio


def _without(
    utterances: Sequence[Utterance], looks: Mapping[str, Look], problems: Mapping[str, list], leave_out: Sequence[str]
) -> tuple[list[Utterance], list[str]]:
    """The utterances that can be used, and sentences about the others."""
    broken = [look for look in looks.values() if look.why]
    odd = [look for look in looks.values() if look.note]
    gone, notes = {look.id for look in broken}, []
    if broken:
        notes.append(f"cannot be used, left out: {len(gone)}. The first: {broken[0].why}")
    if odd:
        notes.append(f"read with a change: {len(odd)}. The first: {odd[0].id}: {odd[0].note}")
    for problem, meaning in MEANING.items():
        names = [name for item in problems.get(problem, ()) for name in _ids(item)]
        if names:
            gone |= set(names) if problem in leave_out else set()
            done = "left out" if problem in leave_out else "kept"
            notes.append(f"{meaning}, {done}: {len(names)} ({few(names)})")
    return [u for u in utterances if u.id not in gone], notes


def _contents(looks: Sequence[Look]) -> list[tuple[str, str, str]]:
    """Rows of contents.csv: of what was decoded; silence holds nothing that could be recognised."""
    decoded = [(look, look.peak) for look in looks if look.peak is not None]
    return [(look.id, *(("", "") if peak < contents.SILENT else (look.file, look.digest))) for look, peak in decoded]


def _ids(item: Any) -> list[str]:
    """The utterances that an entry of `scan.find_problems` is about; of equal ones all but the first."""
    return item[1:] if isinstance(item, list) else [item["path"] if isinstance(item, dict) else item]


def _stat_digest(folder: Path, utterances: Sequence[Utterance]) -> str:
    """A hash of names, sizes and times, where the content was not read."""
    entries = []
    for name in sorted({u.path.partition("#")[0] for u in utterances}):
        try:
            entries.append((name, *archives.stat(folder / name)))
        except (OSError, ValueError):  # not there, or no name that a file can have
            entries.append((name, 0, 0))
    return files.digest(entries)


# -- labels and folds ---------------------------------------------------------------------------------------


def _kinds(reader: Reader, utterances: Sequence[Utterance]) -> dict[str, Kind]:
    """Kind of every label that occurs: the reader's word, else by its values."""
    found: dict[str, Kind] = {}
    for u in utterances:
        for key, value in u.labels.items():
            found.setdefault(key, reader.KINDS.get(key, "class" if isinstance(value, str) else "number"))
    order = [*reader.KINDS, *found]
    return {key: found[key] for key in dict.fromkeys(order) if key in found}


def _classes(reader: Reader, utterances: Sequence[Utterance], kinds: Mapping[str, Kind]) -> dict[str, tuple[str, ...]]:
    """Class order: the reader's, then ours, then the alphabet; only classes that occur."""
    found = {}
    for label, kind in kinds.items():
        if kind == "class":
            present = {str(u.labels[label]) for u in utterances if label in u.labels}
            order = [*reader.CLASSES.get(label, ()), *EMOTIONS, *sorted(present, key=_natural)]
            found[label] = tuple(name for name in dict.fromkeys(order) if name in present)
    return found


def _natural(name: str) -> tuple:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _target(reader: Reader, kinds: Mapping[str, Kind]) -> list[str]:
    """What the reader recommends, as far as it is there; else the emotion, else every number."""
    named = [label for label in reader.TARGET if label in kinds]
    if named:
        return named
    numbers = [label for label, kind in kinds.items() if kind == "number"]
    classes = [label for label, kind in kinds.items() if kind == "class" and label != "split"]
    return ["emotion"] if "emotion" in kinds else numbers or classes[:1]


def _check_classes(root: Path, utterances: Sequence[Utterance], learned: Mapping[str, Sequence[str]]) -> None:
    for label, names in learned.items():
        if len(names) < 2:
            raise InputError(
                f"{root}: one class only. Label {label!r} is always {', '.join(names)} "
                f"({len(utterances)} utterances). Two or more are needed; for pre-training alone use --unlabelled."
            )


def _folds(reader: Reader, utterances: Sequence[Utterance], asked: Asked, divide: Mapping[str, Any]) -> list[Fold]:
    """`divide`: options of the reader's own folds."""
    labelled, n = [u for u in utterances if set(u.labels) - {"split"}], asked.folds
    if n is not None and n < 2:
        raise InputError(f"--folds {n}: too few. Give 2 or more.")
    if not labelled:
        if n or asked.group:
            raise InputError(f"prepare {reader.name}: no labels, so there are no folds. Leave --folds and --group out.")
        return []
    if asked.group == "none":
        return _layout.file_folds(labelled, n or _layout.FOLDS)
    if n is None and not asked.group:
        return list(reader.folds(utterances, **divide))
    own = _group_of_its_own(reader, utterances, divide)
    group = asked.group or own or "speaker"
    known = [u for u in labelled if getattr(u, group)]
    values = sorted({getattr(u, group) for u in known})
    if len(values) < max(n or 0, 3):
        ways = [*["fewer --folds"] * (len(values) >= 3), *["no --folds"] * (own is not None), "--group none (leaky)"]
        raise InputError(
            f"prepare {reader.name}: fewer {group}s than folds. Found {len(values)} "
            f"({', '.join(values[:5]) or 'none known'}) for {n or 3} folds, and at least 3 are needed. Give "
            f"{', or '.join(ways)}."
        )
    most = len(values) if group == "session" else _layout.FOLDS
    return group_folds(known, n or min(most, len(values)), group=group)


def _own_folds(reader: Reader, kept: Sequence[Utterance], split: Sequence[Fold], asked: Asked) -> list[str]:
    """What to know of a corpus's own folds, or that others were asked for."""
    options = [*[f"--folds {asked.folds}"] * (asked.folds is not None), *[f"--group {asked.group}"] * bool(asked.group)]
    own = list(reader.fold_notes(kept))
    if not options:
        return own
    given = own or any("split" in u.labels for u in kept)
    return [f"the corpus's own split is not used: {' '.join(options)}"] if split and given else []


def _group_of_its_own(reader: Reader, utterances: Sequence[Utterance], divide: Mapping[str, Any]) -> str | None:
    """What a reader's own folds keep apart, "" where that is neither speakers nor sessions; None without such folds."""
    try:
        groups = {fold.group for fold in reader.folds(utterances, **divide)}
    except InputError:
        return None
    return next(iter(groups & {"speaker", "session"}), "") if len(groups) == 1 else ""


def check_folds(utterances: Sequence[Utterance], folds: Sequence[Fold]) -> None:
    """Raises InputError where a fold is not a split: unknown ids, an empty side, an id or a group on two sides."""
    by_id = {u.id: u for u in utterances}
    for fold in folds:
        train, dev, test = map(set, fold.sides.values())
        for side, ids in fold.sides.items():
            if not ids:
                raise InputError(
                    f"fold {fold.name}: no utterance in {side}. Found {len(by_id)} in all. Use fewer folds."
                )
            if not by_id.keys() >= set(ids):
                raise InputError(f"fold {fold.name}: {side} names utterances that are not there. Check the fold list.")
        if test & (train | dev) or train & dev:
            raise InputError(f"fold {fold.name}: an utterance is on two sides. Check the fold list.")
        if fold.group in ("speaker", "session"):
            tested, known = ({getattr(by_id[i], fold.group) for i in ids} for ids in (test, train | dev))
            if shared := ", ".join(sorted(tested & known)[:5]):
                raise InputError(f"fold {fold.name}: {fold.group} {shared} on both sides. Check the split.")


def _fold_warnings(
    utterances: Sequence[Utterance],
    folds: Sequence[Fold],
    learned: Mapping[str, Sequence[str]],
    duplicates: Sequence[Sequence[str]],
) -> list[str]:
    """What folds do not keep apart, and classes of the labels to learn that a side lacks."""
    notes = []
    if any(fold.group == "none" for fold in folds):
        notes.append(
            "folds do NOT keep speakers apart: a model is tested on voices it may know, scores will be too good"
        )
    by_id = {u.id: u for u in utterances}
    for fold in folds:
        test, rest = set(fold.test), {*fold.train, *fold.dev}
        across = [pair for pair in duplicates if test & set(pair) and rest & set(pair)]
        if across:
            notes.append(
                f"{fold.name}: {len(across)} recordings are in test and in train or dev, e.g. {' = '.join(across[0])}"
            )
        for label, names in learned.items():
            for side in ("train", "test"):
                there = {by_id[i].labels.get(label) for i in fold.sides[side]}
                if lacking := [name for name in names if name not in there]:
                    notes.append(f"{fold.name}: no {', '.join(lacking)} in {side}")
    return notes


def _word_warnings(
    reader: Reader, fetched: Sequence[Mapping], classes: Mapping[str, Sequence[str]], relabel: Mapping[str, str]
) -> list[str]:
    """What came without a checksum, and classes that are not the usual ones."""
    notes = [
        f"{entry['name']}: no checksum is published; what came has sha256 {entry['sha256']}"
        for entry in fetched
        if not entry["verified"]
    ]
    known = {*EMOTIONS, *reader.CLASSES.get("emotion", ())}
    if strange := [c for c in classes.get("emotion", ()) if c not in known]:
        notes.append(f"classes that are no words of emotion, kept: {', '.join(strange[:10])}")
    if relabel:
        changes = ", ".join(f"{a} counted as {b}" if b else f"{a} left out" for a, b in relabel.items())
        notes.append(f"classes are not the corpus's own: {changes}")
    return notes


# -- report -------------------------------------------------------------------------------------------------


def data_report(
    corpus: Corpus, reader: Reader, looks: Mapping[str, Look], problems: Mapping[str, list]
) -> dict[str, Any]:
    """Counts, durations, problems and what the folds keep apart, as plain data; counts are utterances."""
    utterances, folds, classes, encoded = corpus.utterances, corpus.folds, corpus.classes, bool(corpus.info["tracks"])
    groups = sorted({fold.group for fold in folds})
    people = {u.speaker: u.gender for u in utterances if u.speaker}
    seconds = [s for u in utterances if (s := looks[u.id].seconds) is not None]
    steps = encoded and bool(seconds) and all(s % 1 == 0 for s in seconds)  # counts of steps, not seconds
    seconds = [] if steps else seconds
    if groups in ([], ["none"]):
        says = "no folds" if not groups else "nothing: the same speaker may be in train and test"
    else:
        says = f"no {' or '.join(groups)} of a test part is in train or dev"
    return {
        "corpus": corpus.name,
        "source": reader.SOURCE,
        "licence": reader.LICENCE,
        "utterances": len(utterances),
        "hours": sum(seconds) / 3600 if seconds else None,
        "speakers": len(people) or None,
        "counts": {label: _count(utterances, label, names) for label, names in classes.items()},
        "numbers": {
            label: {"n": len(values)} | _spread(values)
            for label, kind in corpus.kinds.items()
            if kind == "number" and (values := [float(u.labels[label]) for u in utterances if label in u.labels])
        },
        "speakers_by": dict(sorted(Counter(u.speaker for u in utterances if u.speaker).items())),
        "genders": dict(sorted(Counter(gender or "unknown" for gender in people.values()).items())),
        "cross": _cross(utterances, classes),
        "durations_s": _spread(seconds) | {"histogram": _histogram(seconds)} if seconds else {},
        "sample_rates": _tally(looks[u.id].rate_hz for u in utterances),
        "channels": _tally(looks[u.id].channels for u in utterances),
        "problems": None if encoded else dict(problems),
        "folds": [_fold_entry(fold, corpus) for fold in folds],
        "exposure": {"group": groups, "keeps_apart": says},
        "warnings": list(corpus.info["warnings"]),
    }


def _count(utterances: Iterable[Utterance], label: str, names: Sequence[str]) -> dict[str, int]:
    found = Counter(u.labels.get(label) for u in utterances)
    return {name: found[name] for name in names}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {name: float(f(values)) for name, f in SPREAD.items()}


def _cross(utterances: Sequence[Utterance], classes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The first class label against gender, session and every other class label, where the table stays readable."""
    if not classes:
        return {}
    main = next(iter(classes))
    found = {}
    others: dict[str, list[Any]] = {
        "gender": [u.gender for u in utterances],
        "session": [u.session for u in utterances],
        **{label: [u.labels.get(label) for u in utterances] for label in classes if label != main},
    }
    for other, values in others.items():
        pairs = Counter((u.labels[main], v) for u, v in zip(utterances, values, strict=True) if main in u.labels and v)
        columns = sorted({str(v) for _, v in pairs}, key=_natural)
        if 1 < len(columns) <= FEW and len(classes[main]) <= FEW:
            found[f"{main} x {other}"] = {row: {c: pairs[row, c] for c in columns} for row in classes[main]}
    return found


def _histogram(values: Sequence[float]) -> dict[str, list[float]]:
    counts, edges = np.histogram(values, bins=30)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _tally(values: Iterable[int]) -> dict[str, int]:
    return {str(value): n for value, n in sorted(Counter(values).items()) if value}


def _fold_entry(fold: Fold, corpus: Corpus) -> dict[str, Any]:
    sides = {side: [corpus.by_id[i] for i in ids] for side, ids in fold.sides.items()}
    label, names = next(iter(corpus.classes.items()), ("", ()))  # the main one
    return {
        **{"name": fold.name, "group": fold.group},
        **{side: len(members) for side, members in sides.items()},
        "classes": {side: _count(members, label, names) for side, members in sides.items()} if label else {},
        "speakers": {side: sorted({u.speaker for u in members if u.speaker}) for side, members in sides.items()},
    }
