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
from dataclasses import dataclass
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
from sottovoce.errors import InputError
from sottovoce.pipeline import remarks, scan
from sottovoce.pipeline.scan import Look
from sottovoce.report import data_page

MEANING = {
    "silent": "silent",
    "short": f"shorter than {scan.SHORT_S} s",
    "duplicate": "the same samples as an earlier one",
    "clipped": "at full scale, may be clipped",
}
SIDES = ("train", "dev", "test")
FEW = 12  # values of a class label that still make a readable table


@dataclass(frozen=True)
class Fetch:
    """The folder a corpus is fetched into first, and a mirror to fetch it from."""

    folder: Path
    mirror: str = ""


def prepare(
    name: str,
    source: Path | None,
    out: Path,
    *,
    relabel: Mapping[str, str] | None = None,
    folds: int | None = None,
    group: str = "",
    download: Fetch | None = None,
    options: Mapping[str, Any] | None = None,
    leave_out: Sequence[str] = (),
    decode: bool = True,
    jobs: int | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Everything `main` does but printing. Nothing is written before all of it is known to be good.

    Args:
        name: a module of `corpora/`.
        source: folder (or table) to read; None takes `download`, or a folder in `out` for a corpus that is generated.
        out: folder to write.
        relabel: {class: new name, or "" to leave it out}.
        folds, group: number of folds and what they keep apart; None and "" leave it to the reader.
        options: keyword arguments of the reader.
        leave_out: problems (see `scan.PROBLEMS`) whose recordings are dropped too.
        decode: every recording; False reads headers only.
        jobs: processes.

    Returns:
        the data report, as in report.json.

    Raises:
        InputError: not that corpus, nothing usable in it, one class only, duplicate ids, too few speakers for the
            folds, an option or class name the reader does not have.
    """
    reader, given, relabel = base.reader(name), dict(options or {}), dict(relabel or {})
    if group not in ("", "speaker", "session", "none"):
        raise InputError(f"--group {group}: not a group. Choose speaker, session or none.")
    if unknown := [problem for problem in leave_out if problem not in scan.PROBLEMS]:
        raise InputError(f"--leave-out {unknown[0]}: not a problem. There are: {', '.join(scan.PROBLEMS)}.")
    fetched: list[dict] = []
    if download is not None:
        fetched, source = _download(reader, name, download, given, quiet), source or download.folder
    root = _root(reader, name, source, out, given)
    folder = root if root.is_dir() else root.parent
    divide = _dividing(reader, name, given, folds is not None or bool(group))
    fetching = _keywords(reader.download) if fetched and reader.download else []
    utterances, warnings = _read(reader, root, out, _accepted(reader, given, unused=(*divide, *fetching)), relabel)
    looks, problems, print_of_audio = _scanned(reader, folder, utterances, Path(out), decode, jobs, quiet)
    kept, lost = _without(utterances, looks, problems, leave_out)
    if not kept:
        why = next((look.why for look in looks.values() if look.why), "--leave-out took all of them")
        raise InputError(f"{root}: not one usable recording. Found {len(utterances)}; the first says: {why}")
    kinds = _kinds(reader, kept)
    classes, target = _classes(reader, kept, kinds), _target(reader, kinds)
    _check_classes(root, kept, target, kinds, classes)
    split = _folds(reader, kept, folds, group, name, divide)
    check_folds(kept, split)
    warnings += lost + remarks.similar_speakers(kept, split)
    warnings += remarks.votes(kept)
    warnings += remarks.long_clips({u.id: looks[u.id].seconds for u in kept})
    warnings += remarks.lone_classes(kept, {label: classes[label] for label in target if kinds[label] == "class"})
    warnings += _fold_warnings(kept, split, target, kinds, classes, problems.get("duplicate", []))
    warnings += _word_warnings(reader, fetched, classes, relabel)
    info = {
        **{"reader": name, "source": reader.SOURCE, "licence": reader.LICENCE, "target": target},
        "ranges": {label: pair for label, pair in reader.RANGES.items() if label in kinds},
        **{"tracks": list(reader.TRACKS), "map": relabel},
        "options": files.plain({key: str(v) if isinstance(v, Path) else v for key, v in given.items()}),
        "folds": {"n": len(split), "asked": folds, "group": group or (split[0].group if split else "")},
        **{"left_out": list(leave_out), "scanned": decode and not reader.TRACKS},
        **{"audio_digest": print_of_audio, "download": fetched, "warnings": warnings, "sottovoce": __version__},
    }
    corpus = Corpus(Path(out), kept[0].corpus, folder.resolve(), tuple(kept), tuple(split), kinds, classes, info)
    report = data_report(corpus, reader, looks, problems)
    _write(corpus, report, [] if reader.TRACKS else [looks[u.id] for u in kept])
    if decode and not reader.TRACKS:
        scan.save(corpus.folder / scan.FILE, utterances, looks)
    return report


# -- reading ------------------------------------------------------------------------------------------------


def _read(
    reader: Reader, root: Path, out: Path, read: dict[str, Any], relabel: Mapping[str, str]
) -> tuple[list[Utterance], list[str]]:
    """The utterances under their new class names, and what there is to say about them."""
    accepted, late = inspect.signature(reader.utterances).parameters, relabel
    if "into" in accepted:  # recordings that lie inside a table
        read["into"] = Path(out) / "recordings"
    if "relabel" in accepted:
        read["relabel"], late = relabel, {}
    utterances = list(reader.utterances(root, **read))
    if late:
        utterances = vocabulary.apply(utterances, late, _class_label(reader, utterances), reader.name)
    if not utterances:
        raise InputError(
            f"{root}: no utterances. Every one was left out, or there are none. Check --drop and the folder."
        )
    _check_ids(utterances, root)
    return utterances, _notes(reader, root, read, utterances)


def _dividing(reader: Reader, name: str, given: Mapping[str, Any], asked: bool) -> dict[str, Any]:
    """Options of the reader's own folds; `asked`: for others."""
    divide = {key: given[key] for key in _keywords(reader.folds) if key in given}
    if divide and asked:
        raise InputError(
            f"--{next(iter(divide))} {next(iter(divide.values()))}: {name}'s own folds. Found --folds or --group too. "
            "Use one or the other."
        )
    return divide


def _root(reader: Reader, name: str, source: Path | None, out: Path, options: dict[str, Any]) -> Path:
    """The folder to read; a corpus that is generated is generated now."""
    generate = reader.generate_into
    if source is None and generate is None:
        fetch = " or fetch it with --download DIR" if reader.download else ""
        raise InputError(f"prepare {name}: no folder. Name the one that holds the corpus{fetch}.")
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


def _download(reader: Reader, name: str, to: Fetch, options: Mapping[str, Any], quiet: bool) -> list[dict]:
    if reader.download is None:
        raise InputError(f"prepare {name}: cannot be downloaded here. {reader.LICENCE}. Get it from {reader.SOURCE}.")
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


def _check_ids(utterances: Sequence[Utterance], root: Path) -> None:
    twice = [name for name, n in Counter(u.id for u in utterances).items() if n > 1]
    if twice:
        raise InputError(
            f"{root}: duplicate ids. Found {len(twice)}, e.g. {', '.join(twice[:5])}. Every utterance needs its own."
        )


def _notes(reader: Reader, root: Path, read: Mapping[str, Any], utterances: Sequence[Utterance]) -> list[str]:
    """What the reader has to say, and recordings that were left out."""
    asked = {key: read[key] for key in _keywords(reader.problems) if key in read}
    notes = list(reader.problems(root, utterances, **asked))
    if root.is_dir() and not reader.TRACKS:
        used = {u.path for u in utterances}
        other = [path for path in _layout.audio(root) if path not in used]
        if other:
            some = ", ".join(other[:3]) + (", ..." if other[3:] else "")
            notes.append(f"in the folder but not used: {len(other)} ({some})")
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
        return {u.id: Look(u.id, seconds=_span(u)) for u in utterances}, {}, _stat_digest(folder, utterances)
    looks = scan.look_at(folder, utterances, decode=decode, kept=out / scan.FILE, jobs=jobs, quiet=quiet)
    sound = sorted((look.id, look.digest) for look in looks.values() if not look.why)
    return (
        looks,
        scan.find_problems(utterances, looks),
        files.digest(sound) if decode else _stat_digest(folder, utterances),
    )


def _without(
    utterances: Sequence[Utterance], looks: Mapping[str, Look], problems: Mapping[str, list], leave_out: Sequence[str]
) -> tuple[list[Utterance], list[str]]:
    """The utterances that can be used, and sentences about the others."""
    gone = {look.id for look in looks.values() if look.why}
    notes = []
    if gone:
        first = next(look.why for look in looks.values() if look.why)
        notes.append(f"cannot be used, left out: {len(gone)}. The first: {first}")
    odd = [look for look in looks.values() if look.note]
    if odd:
        notes.append(f"read with a change: {len(odd)}. The first: {odd[0].id}: {odd[0].note}")
    for problem in MEANING:
        found = problems.get(problem, [])
        names = [n for item in found for n in (item[1:] if isinstance(item, list) else [_id(item)])]
        if not names:
            continue
        wanted = problem in leave_out
        gone |= set(names) if wanted else set()
        some = ", ".join(names[:3]) + (", ..." if names[3:] else "")
        notes.append(f"{MEANING[problem]}, {'left out' if wanted else 'kept'}: {len(names)} ({some})")
    return [u for u in utterances if u.id not in gone], notes


def _contents(looks: Sequence[Look]) -> list[tuple[str, str, str]]:
    """Rows of contents.csv: of what was decoded; silence holds nothing that could be recognised."""
    decoded = [(look, look.peak) for look in looks if look.peak is not None]
    return [(look.id, *(("", "") if peak < contents.SILENT else (look.file, look.digest))) for look, peak in decoded]


def _id(item: Any) -> str:
    return item["path"] if isinstance(item, dict) else item


def _span(u: Utterance) -> float | None:
    return None if u.end is None else u.end - u.start


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


def _check_classes(
    root: Path, utterances: Sequence[Utterance], target: Sequence[str], kinds: Mapping[str, Kind], classes: Mapping
) -> None:
    for label in target:
        if kinds[label] == "class" and len(classes[label]) < 2:
            raise InputError(
                f"{root}: one class only. Label {label!r} is always {', '.join(classes[label])} "
                f"({len(utterances)} utterances). Two or more are needed; for pre-training alone use --unlabelled."
            )


def _folds(
    reader: Reader, utterances: Sequence[Utterance], n: int | None, group: str, name: str, divide: Mapping[str, Any]
) -> list[Fold]:
    """`divide`: options of the reader's own folds."""
    labelled = [u for u in utterances if set(u.labels) - {"split"}]
    if n is not None and n < 2:
        raise InputError(f"--folds {n}: too few. Give 2 or more.")
    if not labelled:
        if n or group:
            raise InputError(f"prepare {name}: no labels, so there are no folds. Leave --folds and --group out.")
        return []
    if group == "none":
        return _layout.file_folds(labelled, n or _layout.FOLDS)
    if n is None and not group:
        return list(reader.folds(utterances, **divide))
    group = group or "speaker"
    known = [u for u in labelled if getattr(u, group)]
    values = sorted({getattr(u, group) for u in known})
    if len(values) < max(n or 0, 3):
        raise InputError(
            f"prepare {name}: fewer {group}s than folds. Found {len(values)} ({', '.join(values[:5]) or 'none known'}) "
            f"for {n or 3} folds, and at least 3 are needed. Give fewer --folds, or --group none (leaky)."
        )
    return group_folds(
        known, n or (len(values) if group == "session" else min(_layout.FOLDS, len(values))), group=group
    )


def check_folds(utterances: Sequence[Utterance], folds: Sequence[Fold]) -> None:
    """Raises InputError where a fold is not a split: unknown ids, an empty side, an id or a group on two sides."""
    by_id = {u.id: u for u in utterances}
    for fold in folds:
        sides = {side: getattr(fold, side) for side in SIDES}
        for side, ids in sides.items():
            if not ids:
                raise InputError(
                    f"fold {fold.name}: no utterance in {side}. Found {len(by_id)} in all. Use fewer folds."
                )
            if not set(ids) <= set(by_id):
                raise InputError(f"fold {fold.name}: {side} names utterances that are not there. Check the fold list.")
        rest = set(sides["train"]) | set(sides["dev"])
        if set(sides["test"]) & rest or set(sides["train"]) & set(sides["dev"]):
            raise InputError(f"fold {fold.name}: an utterance is on two sides. Check the fold list.")
        if fold.group in ("speaker", "session"):
            tested = {getattr(by_id[i], fold.group) for i in sides["test"]}
            shared = sorted(tested & {getattr(by_id[i], fold.group) for i in rest})
            if shared:
                raise InputError(
                    f"fold {fold.name}: {fold.group} {', '.join(shared[:5])} on both sides. Check the split."
                )


def _fold_warnings(
    utterances: Sequence[Utterance],
    folds: Sequence[Fold],
    target: Sequence[str],
    kinds: Mapping[str, Kind],
    classes: Mapping[str, tuple[str, ...]],
    duplicates: Sequence[Sequence[str]],
) -> list[str]:
    notes = []
    if any(fold.group == "none" for fold in folds):
        notes.append(
            "folds do NOT keep speakers apart: a model is tested on voices it may know, scores will be too good"
        )
    by_id = {u.id: u for u in utterances}
    labels = [label for label in target if kinds[label] == "class"]
    for fold in folds:
        test, rest = set(fold.test), {*fold.train, *fold.dev}
        across = [pair for pair in duplicates if test & set(pair) and rest & set(pair)]
        if across:
            notes.append(
                f"{fold.name}: {len(across)} recordings are in test and in train or dev, e.g. {' = '.join(across[0])}"
            )
        for label in labels:
            for side in ("train", "test"):
                there = {by_id[i].labels.get(label) for i in getattr(fold, side)}
                lacking = [c for c in classes[label] if c not in there]
                if lacking:
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


def _write(corpus: Corpus, report: Mapping[str, Any], looks: Sequence[Look]) -> None:
    corpus.save()
    if looks:
        contents.save(corpus.folder, _contents(looks))
    files.write_json(corpus.folder / "report.json", report)
    files.write_text(corpus.folder / "report.html", data_page(report))


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
        "numbers": {label: _summary(utterances, label) for label, kind in corpus.kinds.items() if kind == "number"},
        "speakers_by": dict(sorted(Counter(u.speaker for u in utterances if u.speaker).items())),
        "genders": dict(sorted(Counter(gender or "unknown" for gender in people.values()).items())),
        "cross": _cross(utterances, classes),
        "durations_s": _durations(seconds),
        "sample_rates": _tally(looks[u.id].rate_hz for u in utterances),
        "channels": _tally(looks[u.id].channels for u in utterances),
        "problems": None if encoded else dict(problems),
        "folds": [_fold_entry(fold, utterances, classes) for fold in folds],
        "exposure": {"group": groups, "keeps_apart": says},
        "warnings": list(corpus.info["warnings"]),
    }


def _count(utterances: Iterable[Utterance], label: str, names: Sequence[str]) -> dict[str, int]:
    found = Counter(u.labels.get(label) for u in utterances)
    return {name: found[name] for name in names}


def _summary(utterances: Iterable[Utterance], label: str) -> dict[str, float]:
    values = np.array([float(u.labels[label]) for u in utterances if label in u.labels])
    return {
        "n": len(values),
        "min": values.min(),
        "mean": values.mean(),
        "median": np.median(values),
        "max": values.max(),
    }


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


def _durations(seconds: Sequence[float]) -> dict[str, Any]:
    if not seconds:
        return {}
    values = np.array(seconds)
    counts, edges = np.histogram(values, bins=30)
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _tally(values: Iterable[int]) -> dict[str, int]:
    return {str(value): n for value, n in sorted(Counter(values).items()) if value}


def _fold_entry(fold: Fold, utterances: Sequence[Utterance], classes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    by_id = {u.id: u for u in utterances}
    sides = {side: [by_id[i] for i in getattr(fold, side)] for side in SIDES}
    main = next(iter(classes), None)
    return {
        "name": fold.name,
        "group": fold.group,
        **{side: len(members) for side, members in sides.items()},
        "classes": {side: _count(members, main, classes[main]) for side, members in sides.items()} if main else {},
        "speakers": {side: sorted({u.speaker for u in members if u.speaker}) for side, members in sides.items()},
    }
