"""`sottovoce audit`: who and what is on both sides of a split -> audit.csv, audit.json, a page; exit code 3 for a leak.

    corpus   every fold: speakers, sessions, recordings (the same bytes or samples, the same by ear, overlapping
             stretches of one file), dev and test; several corpora: what they have in common
    run      the folds it was made for, and whom its weights, statistics, clusters and intensity models have seen, as
             far back as the folders are there

A leak is what a tested person or recording shares with what was learned from or chosen by. What train and dev share is
told, and no leak: it flatters the choice, not the result.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sottovoce import files
from sottovoce import report as pages
from sottovoce.data import contents, fingerprints, folds, own, runs
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.folds import Seen, person
from sottovoce.data.runs import Run
from sottovoce.data.store import read_head
from sottovoce.errors import InputError
from sottovoce.evaluation import protocol
from sottovoce.evaluation.evaluate import READINGS
from sottovoce.modeling import hub, whisper_weights
from sottovoce.modeling.codebook import Labels

LEAKS = {
    "speaker": "a tested speaker is in training or dev",
    "session": "a session of tested recordings is in training or dev",
    "copy": "a tested recording is in training or dev, by its bytes or samples",
    "near copy": "a tested recording is in training or dev: it sounds the same, by its fingerprint",
    "stretch": "stretches of one file that overlap are on both sides",
    "dev = test": "utterances are tested that choose",
    "train = test": "utterances are tested that are learned from",
    "other corpus": "a tested recording is in another corpus too",
    "statistics": "weights or statistics of a run have seen tested people",
    "pre-training": "the weights that a run began with have seen tested people",
    "clusters": "cluster centres were fitted to tested people",
    "intensity model": "a model behind a track has seen tested people",
}
TEXTS = ("sentence", "statement", "text", "transcript", "prompt")  # columns that name what was said
SHOWN = 3  # examples


@dataclass(frozen=True)
class Finding:
    kind: str  # of `LEAKS`
    where: str  # corpus and fold, or run
    one: str  # on the tested side
    other: str  # on the other
    detail: str = ""
    leak: bool = True


@dataclass(frozen=True)
class Pair:
    """Two utterances that hold the same; each is (number of the corpus, id)."""

    kind: str
    a: tuple[int, str]
    b: tuple[int, str]
    detail: str


# ------------------------------------------------------------------------------------------------- recordings


def pairs(corpora: Sequence[Corpus], *, quiet: bool = True) -> list[Pair]:
    """What is in these corpora twice: by bytes and samples, by overlapping stretches, by fingerprint."""
    rows = [(c, u) for c, corpus in enumerate(corpora) for u in corpus.utterances]
    samples: dict[str, list[int]] = {}
    spans: dict[str, list[tuple[float, float, int]]] = {}
    for k, (c, u) in enumerate(rows):
        marks = corpora[c].contents.get(u.id, ())
        if corpora[c].info.get("tracks"):  # features were delivered: the place in their file is all that is known
            end = float("inf") if u.end is None else u.end
            spans.setdefault(str(corpora[c].root / u.path), []).append((u.start, end, k))
        for mark in marks:
            if mark.startswith("f"):
                name, (start, end) = contents.span_of(mark)
                spans.setdefault(name, []).append((start, end, k))
            else:
                samples.setdefault(mark, []).append(k)
    found: dict[tuple[int, int], tuple[str, str]] = {}
    for group in samples.values():
        found |= {pair: ("copy", "the same samples") for pair in itertools.combinations(group, 2)}
    for own_file in spans.values():
        found = _overlaps(own_file) | found
    prints: dict[int, Any] = {}
    for c, corpus in enumerate(corpora):
        if not corpus.info.get("tracks"):
            own = fingerprints.of_corpus(corpus.folder, corpus.root, corpus.utterances, corpus.contents, quiet)
            prints |= {k: own[u.id] for k, (d, u) in enumerate(rows) if d == c and u.id in own}
    order = sorted(prints)
    for i, j, seconds, different in fingerprints.alike([prints[k] for k in order]):
        said = f"{seconds:.1f} s of speech in common, {different:.0%} of the bits differ"
        found.setdefault((order[i], order[j]), ("near copy", said))
    named = [(c, u.id) for c, u in rows]
    return [Pair(kind, named[i], named[j], said) for (i, j), (kind, said) in sorted(found.items())]


def _overlaps(group: list[tuple[float, float, int]]) -> dict[tuple[int, int], tuple[str, str]]:
    """Of (start, end, row) in one file, which rows overlap."""
    found: dict[tuple[int, int], tuple[str, str]] = {}
    ordered = sorted(group)
    for k, (start, end, one) in enumerate(ordered):
        for begin, stop, other in itertools.islice(ordered, k + 1, None):
            if begin >= end:
                break
            same = (begin, stop) == (start, end)
            said = "the same file" if same else f"{min(end, stop) - begin:.2f} s of one file"
            found[min(one, other), max(one, other)] = ("copy" if same else "stretch", said)
    return found


# ------------------------------------------------------------------------------------------------------ folds


def of_fold(corpus: Corpus, fold: Fold, twice: Iterable[Pair], number: int = 0, where: str = "") -> list[Finding]:
    """What the parts of a fold share. `twice`: as `pairs` gives it, of corpora of which this one has the number."""
    where = where or f"{corpus.folder.name} {fold.name}"
    by_id, tested = corpus.by_id, set(fold.test)
    side = dict.fromkeys(fold.train, "train") | dict.fromkeys(fold.dev, "dev")
    found = [Finding(f"{side[key]} = test", where, key, key) for key in fold.test if key in side]
    for kind in ("speaker", "session"):
        of = {key: getattr(by_id[key], kind) for key in (*fold.test, *side)}
        ours = {of[key]: key for key in fold.test if of[key]}
        theirs = {of[key]: key for key in side if key not in tested and of[key] in ours}
        found += [
            Finding(kind, where, ours[who], key, f"{kind} {who} is in {side[key]}") for who, key in theirs.items()
        ]
    for pair in twice:
        if pair.a[0] != number or pair.b[0] != number:
            continue
        ids = sorted((pair.a[1], pair.b[1]), key=lambda key: key not in tested)
        here, there = (("test" if key in tested else side.get(key, "unnamed")) for key in ids)
        pretrained = here == "test" and pair.kind == "near copy"  # the copies that `pretrain` does not know of
        if here == there or ("unnamed" in (here, there) and not pretrained):
            continue
        said = f"{here} and {'unlabelled' if there == 'unnamed' else there}: {pair.detail}"
        found.append(Finding(pair.kind, where, ids[0], ids[1], said, leak=here == "test"))
    return found


def between(corpora: Sequence[Corpus], twice: Iterable[Pair]) -> list[Finding]:
    """What several corpora have in common and one of them tests."""
    tested = [{key for fold in corpus.folds for key in fold.test} for corpus in corpora]
    found = []
    for pair in twice:
        (a, one), (b, other) = sorted((pair.a, pair.b), key=lambda p: p[1] not in tested[p[0]])
        if a != b and one in tested[a]:
            names = f"{corpora[a].folder.name} and {corpora[b].folder.name}"
            found.append(Finding("other corpus", names, one, other, f"{pair.kind}: {pair.detail}"))
    return found


def part_of(corpus: Corpus, fold: Fold) -> dict[str, Any]:
    """How large a fold's parts are, and how many of the tested texts are learned from: told, and no leak."""
    named = next((name for name in TEXTS if name in corpus.kinds), "")
    sides = {side: [corpus.by_id[key] for key in ids] for side, ids in fold.sides.items()}
    texts = {side: {str(u.labels[named]) for u in part if named in u.labels} for side, part in sides.items()}
    return {
        "corpus": corpus.folder.name,
        "fold": fold.name,
        "apart_by": fold.group,
        **{side: len(part) for side, part in sides.items()},
        **{f"{side}_people": len({person(u) for u in part}) for side, part in sides.items()},
        "texts": f"{len(texts['test'] & texts['train'])} of {len(texts['test'])}" if texts["test"] else None,
    }


# ------------------------------------------------------------------------------------------------------- runs


def ancestry(run: Run) -> Iterator[tuple[str, str, Seen]]:
    """(kind, name, whom it has seen) of all that stands behind a run, itself last."""
    init = run.config.get("init")
    if isinstance(init, str) and (Path(init) / "config.json").is_file() and not hub.is_public(init):
        yield from (("pre-training", name, seen) for _, name, seen in ancestry(Run.load(init)))
    settings = run.config.get("settings", {})
    for folder in (p.parent for p in sorted(Path(str(run.config.get("corpus", "-"))).glob("tracks/*/track.json"))):
        head = read_head(folder)
        config, used = head.config, files.plain(settings.get("track_config", {}))
        if "heard" in config and head.track == settings.get("track") and config == used | config:
            kind = "clusters" if head.track == "units" else "intensity model"
            seen = Seen(frozenset(config["heard"]), folds.contents_beside(folder))
            yield kind, f"track {folder.name}", seen
    kind = "intensity model" if settings.get("objective") in ("strength", "attributes") else "statistics"
    yield kind, str(run.folder), folds.seen_by(run)


def of_seen(kinds: Iterable[tuple[str, str, Seen]], corpora: Sequence[Corpus], fold: str | Fold) -> list[Finding]:
    """Tested people who are known, each told once: of whatever saw them first."""
    found, told = [], set()
    name = fold if isinstance(fold, str) else fold.name
    for kind, what, seen in kinds:
        for who in seen.test_people(corpora, fold):
            if who not in told:
                by = "by name" if who in seen.people else "by a recording under another name"
                found.append(Finding(kind, f"{what}, {name}", who, what, by))
                told.add(who)
    return found


def of_run(run: Run, corpora: Sequence[Corpus]) -> tuple[list[Finding], dict[str, Any]]:
    """Leaks behind a run, and what it has seen and read. `corpora`: its own, or those it is asked about."""
    config, kind = run.config, run.config["kind"]
    dev, fold = config.get("settings", {}).get("finetune", {}).get("dev", ""), str(config.get("fold"))
    found = of_seen(ancestry(run), corpora, fold)
    if kind == "finetune" and dev == "test":
        found.append(Finding("dev = test", str(run.folder), "the test part", "dev", "chosen on what is tested"))
    history = run.folder / "history.json"
    told = own.read_json(history, dict[str, Any]) if kind == "finetune" and history.is_file() else {}
    seen = folds.seen_by(run)
    return found, {
        "run": str(run.folder),
        "kind": kind,
        "fold": fold,
        "init": config.get("init", ""),
        "against": [corpus.folder.name for corpus in corpora],
        **_counts(seen),
        "compared_by": folds.compared_by([run]),
        "labels": f"{config['labels']} of {config['of_labels']}" if "of_labels" in config else None,
        "dev_readings": len(told.get("probe", ())) + len(told.get("epochs", ())) or None,
        "test_readings": test_readings(run.folder) if kind == "finetune" else None,
        "transductive": bool(config.get("transductive") or config.get("seen_test_speakers")),
    }


def _counts(seen: Seen) -> dict[str, int]:
    return {"seen_people": len(seen.people), "seen_recordings": sum(mark.startswith("s") for mark in seen.contents)}


def test_readings(folder: Path) -> int:
    """How often `evaluate` has read the test part for a run; runs evaluated by earlier versions count once."""
    for home in (folder, folder.parent):
        if (home / READINGS).is_file():
            return len(own.read_json(home / READINGS, list[Any]))
    return int(any((home / "report.json").is_file() for home in (folder, folder.parent)))


def of_clusters(folder: Path) -> tuple[list[Finding], dict[str, Any]]:
    """Leaks of a codebook and of the units made by it, as `label` has left them."""
    told = own.read_json(folder / "label.json", Labels, "Label again.")
    seen = Seen(frozenset(told.seen_speakers), folds.contents_beside(folder))
    corpora = [Corpus.load(entry.folder) for entry in told.corpora if Path(entry.folder).is_dir()]
    found = of_seen([("clusters", str(folder), seen)], corpora, told.fold)
    row = {"run": str(folder), "kind": "label", "fold": told.fold, "init": told.run}
    return found, row | _counts(seen)


def licences(found: Sequence[Run], corpora: Sequence[Corpus]) -> dict[str, str]:
    """What all that is audited, and all that its weights stand on, may be used for."""
    told = {c.folder.name: str(c.info.get("licence") or "not known") for c in corpora}
    for run in found:
        told |= {source["title"]: source["licence"] for source in run.config.get("sources", ())}
        init = run.config.get("encoder") or run.config.get("init") or ""
        if init == whisper_weights.DEFAULT:
            told["default encoder"] = whisper_weights.default_card()["licence"]
        elif init not in ("", "none"):
            told[str(init)] = "see its model card" if hub.is_public(init) else "that of what it was trained on"
    return told


# -------------------------------------------------------------------------------------------------- the whole


def audit(paths: Sequence[Path], *, quiet: bool = True) -> dict[str, Any]:
    """All of these folders, runs and corpora, and the corpora that the runs name.

    Raises InputError for a folder that is neither.
    """
    started = time.monotonic()
    corpora: dict[Path, Corpus] = {}
    found: list[Run] = []
    clusters: list[Path] = []
    for path in paths:
        if (path / "manifest.csv").is_file():
            corpora[path.resolve()] = Corpus.load(path)
        elif labels := [p.parent for p in (path / "label.json", *sorted(path.glob("*/label.json"))) if p.is_file()]:
            clusters += labels
        else:
            found += runs.parts(path)
    for run in found:
        home = Path(str(run.config.get("corpus", "")))
        if run.config.get("corpus") and home.resolve() not in corpora:
            if not home.is_dir():
                raise InputError(f"{run.folder}: its corpus is gone. Looked for {home}. Prepare it again.")
            corpora[home.resolve()] = Corpus.load(home)
    loaded = list(corpora.values())
    twice = pairs(loaded, quiet=quiet)
    own_corpus = [run.config.get("corpus") for run in found]
    mine = [[corpora[Path(folder).resolve()]] if folder else loaded for folder in own_corpus]
    made = [*map(of_run, found, mine), *map(of_clusters, clusters)]
    findings = [f for k, c in enumerate(loaded) for fold in c.folds for f in of_fold(c, fold, twice, k)]
    findings += between(loaded, twice) + [f for more, _ in made for f in more]
    leaks = sum(f.leak for f in findings)
    return {
        "title": ", ".join(path.name for path in paths),
        "leaks": leaks,
        "recordings": sum(len(c.utterances) for c in loaded),
        "kinds": [_told(kind, findings) for kind in LEAKS],
        "findings": [asdict(f) for f in findings],
        "parts": [part_of(corpus, fold) for corpus in loaded for fold in corpus.folds],
        "seen": [row for _, row in made],
        "licences": licences(found, loaded),
        "hardware": runs.hardware(),
        "made": runs.provenance(),
        "seconds": time.monotonic() - started,
    }


def _told(kind: str, findings: Sequence[Finding]) -> dict[str, Any]:
    own = [f for f in findings if f.kind == kind]
    examples = [f"{f.where}: {f.one} / {f.other}" + f" ({f.detail})" * bool(f.detail) for f in own[:SHOWN]]
    leaks = sum(f.leak for f in own)
    return {"kind": kind, "means": LEAKS[kind], "leaks": leaks, "told": len(own) - leaks, "examples": examples}


def save(output: Path, result: Mapping[str, Any]) -> None:
    """audit.csv, a row a finding; audit.json; the page."""
    columns = ["leak", "kind", "where", "one", "other", "detail"]
    files.write_csv(output / "audit.csv", [{**f, "leak": int(f["leak"])} for f in result["findings"]], columns)
    protocol.save(output, "audit", result, pages.audit_page)
