"""`sottovoce label`: hidden states of a layer -> k-means units, one set per K, per fold.

    run --> states of a layer (kept on disk) --> k-means on the training part --> codebook.safetensors
                                                                              --> CORPUS/tracks/units-DIGEST/

Pseudo-labels as in HuBERT (arXiv:2106.07447, sec. 2.1), of several scales as in GMP-TL (arXiv:2405.02151). Centres are
fitted on the fold's training part alone, dev people get units of these centres, test people get none, so that nothing
can be learned from theirs. The units are a track at the frames of the hidden states, whole numbers from 0, -1 where a
recording was trimmed; tracks of other frame rates read it with kind="nearest".
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce import report as pages
from sottovoce.backbones.base import hop_and_field
from sottovoce.config.finetuning import Probe
from sottovoce.data import folds, own, runs
from sottovoce.data.batching import sequential
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.progress import Bar
from sottovoce.data.runs import Run
from sottovoce.data.store import Head, TrackStore, TrackWriter
from sottovoce.errors import InputError, say
from sottovoce.metrics import cluster_quality
from sottovoce.metrics import kmeans as clustering
from sottovoce.metrics.kmeans import Config as KMeans
from sottovoce.modeling import codebook, network
from sottovoce.modeling.codebook import Codebook, Stacked
from sottovoce.pipeline.extract import plan_store

SIDES = ("train", "heldout")
EARLIER = {"method": "nested", "seeding": "scalable", "batch": 10_000}  # had a choice once: labels stay finished


@dataclass(frozen=True)
class Settings:
    """What `--set` takes."""

    clustering: KMeans = field(default_factory=KMeans)


def cluster_sizes(text: str, given: Codebook | None) -> tuple[int, ...]:
    if given and not text:
        return given.clusters
    try:
        sizes = tuple(int(k) for k in (text or "64,512,4096").split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise InputError(f"--clusters {text}: not counts of clusters. Give different ones of 1 or more, e.g. 64,512.")
    if given and sizes != given.clusters:
        there = ",".join(map(str, given.clusters))
        raise InputError(f"--clusters {text}: the codebook has others. Found {there}. Leave --clusters out.")
    return sizes


def default_layer(run: Run) -> int:
    """The third from the top, as in GMP-TL; of a shallow model the first block, of one without blocks its input."""
    blocks, tuning = run.plan.backbone_config.layers, run.plan.finetune
    if run.config["kind"] == "finetune":  # keeps no block above those it reads
        pooled = () if isinstance(tuning, Probe) else tuning.layers
        blocks = min(blocks, tuning.depth or max(pooled, default=blocks))
    return max(blocks - 2, min(blocks, 1))


def own_corpus(run: Run) -> Path:
    if "corpus" not in run.config:
        raise InputError(
            f"{run.folder}: label which recordings? A pre-trained run has no corpus of its own. Name some."
        )
    return Path(run.config["corpus"])


@dataclass
class _Part:
    """What is labelled of a corpus. A state's slot is its index, counted from the beginning of the recording."""

    corpus: Corpus
    sides: dict[str, list[Utterance]]  # train, heldout
    steps: Steps  # of both, in this order
    rate_hz: float = 0.0
    offset_s: float = 0.0  # of slot 0
    first: dict[str, int] = field(default_factory=dict)  # id -> slot of its first state; not 0 where it was trimmed
    frames: dict[str, int] = field(default_factory=dict)  # id -> its states
    slots: dict[str, int] = field(default_factory=dict)  # id -> slots of the whole recording
    states: TrackStore = None  # type: ignore[assignment]

    @property
    def utterances(self) -> list[Utterance]:
        return [u for side in SIDES for u in self.sides[side]]

    def summary(self) -> dict[str, Any]:
        where = {"name": self.corpus.name, "folder": str(self.corpus.folder.resolve())}
        return where | {side: len(self.sides[side]) for side in SIDES}


@dataclass(frozen=True)
class Clustering:
    """Which units are made of which states, and whose voices may decide them."""

    layer: int
    clusters: Sequence[int]  # one label set each
    per_gender: bool = False
    book: Codebook | None = None  # centres to use instead of fitting some
    where: Path | None = None  # `book` was read from here
    seed: int = 0
    stability: int = 1  # more clusterings with other seeds, to see how far labels agree
    config: KMeans = field(default_factory=KMeans)
    half: bool = False  # states are kept as float16 while working
    transductive: bool = False  # test people may have been seen


def label(
    run: Run,
    corpora: Sequence[Corpus],
    fold: str,
    folder: Path,
    wanted: Clustering,
    *,
    jobs: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> Path:
    """Codebook, report and units of one fold; nothing is done when the same ones are there.

    Args:
        folder: where codebook.safetensors, label.json and report.html go; the units go to each corpus's tracks.

    Raises:
        InputError: no such layer, a corpus without gender where genders are kept apart, more clusters than frames, a
            codebook of another encoder, layer or fold, other labels in the folder.
    """
    started, layer, clusters, half = time.monotonic(), wanted.layer, wanted.clusters, wanted.half
    book, stability = wanted.book, wanted.stability
    weights = files.file_digest(run.weights)
    backbone, parts = _parts(run, corpora, fold, layer, jobs, quiet)
    genders = _genders(parts) if wanted.per_gender or (book and book.genders) else ()
    seen = folds.seen_by(run) | folds.Seen.of(corpora, [part.sides["train"] for part in parts])
    if book is None:
        known = [(part.frames[u.id], u.gender) for part in parts for u in part.sides["train"]]
        frames = {g: sum(n for n, own in known if g in ("", own)) for g in genders or ("",)}
        codebook.check_frames(frames, max(clusters))
    else:
        seen, stability = seen | _heard(wanted, book, weights, fold, genders), 0
        if seen.test_people(corpora, fold) and not wanted.transductive:
            raise InputError(f"{wanted.where}: has seen test speakers of {fold}. Allow it by name with --transductive.")
    head: dict[str, Any] = {
        **{"model": weights, "layer": layer, "fold": fold, "clusters": clusters, "genders": genders},
        "seed": wanted.seed,
        "config": {"clustering": EARLIER | asdict(wanted.config), "half": half, "stability": stability},
        "codebook": book.digest if book else None,
        "data": [[[u.id for u in part.sides[side]] for side in SIDES] for part in parts],
        "audio": [part.corpus.info.get("audio_digest", "") for part in parts],
    }
    known_as = folds.EARLIER_NO_HOLDOUT if fold == folds.NO_HOLDOUT else fold  # so that earlier labels stay finished
    identity = files.digest(head | {"fold": known_as})
    if dry_run:
        _estimate(backbone, parts, layer, clusters, half)
        return folder
    if _finished(folder, identity, parts):
        return folder
    for part in parts:
        _keep_states(backbone, part, layer, weights, folder / "states", half, quiet)
    sets: Sets = {side: {g: _stack(parts, side, g) for g in genders or ("",)} for side in SIDES}
    train = {gender: stacked for gender, (stacked, _) in sets["train"].items()}
    blank = Codebook({}, weights, layer, fold, wanted.seed, tuple(sorted(seen.people)), genders)
    with Bar(len(clusters) * (1 + stability), f"clustering {fold}", quiet=quiet) as bar:
        book = book or _fitted(train, blank, wanted, jobs, bar)
        more = [replace(blank, seed=wanted.seed + k) for k in range(1, stability + 1)]
        others = [_fitted(train, empty, wanted, jobs, bar) for empty in more]
    units, apart = _label(book, sets, jobs)
    tracks = [_write(p, part, book, units, seen) for p, part in enumerate(parts)]
    heard = seen.test_people(corpora, fold)
    report = {
        **{"kind": "label", "identity": identity, "codebook": book.digest},
        "title": f"{run.config.get('recipe', run.folder.name)}, layer {layer}, {fold}",
        "run": str(run.folder),
        **{k: v for k, v in head.items() if k not in ("data", "audio", "codebook")},
        **{"seen_speakers": sorted(seen.people), "seen_test_speakers": heard},
        **{"width": backbone.dim, "rate_hz": parts[0].rate_hz},
        "corpora": [part.summary() | {"track": track.name} for part, track in zip(parts, tracks, strict=True)],
        **_quality(book, parts, sets, units, apart, others, jobs) | {"warnings": _warnings(corpora, fold, heard)},
        **{"hardware": runs.hardware(), "made": runs.provenance(), "seconds": time.monotonic() - started},
    }
    seen.keep(folder)
    book.save(folder / "codebook.safetensors")
    files.write_text(folder / "report.html", pages.label_page(report))
    files.write_json(folder / "label.json", report)  # last: it makes the labels finished ones
    shutil.rmtree(folder / "states")
    return folder


def _heard(wanted: Clustering, book: Codebook, weights: str, fold: str, genders: Sequence[str]) -> folds.Seen:
    """Whose voices the given centres know. Raises InputError for a codebook that does not fit the run."""
    where = wanted.where
    book.check(where or "codebook", model=weights, layer=wanted.layer, fold=fold)
    if not set(genders) <= set(book.genders):
        raise InputError(
            f"{where}: no centres for {', '.join(sorted(set(genders) - set(book.genders)))}. Found "
            f"{', '.join(book.genders) or 'one set for all genders'}. Leave --per-gender out, or --codebook."
        )
    return folds.Seen(frozenset(book.heard), folds.contents_beside(Path(where or "").parent))


def _fitted(train: Mapping[str, Stacked], blank: Codebook, wanted: Clustering, jobs: int | None, bar: Bar) -> Codebook:
    """A codebook that says what `blank` does, with centres of its seed."""

    def centres(k: int) -> np.ndarray:
        found = codebook.fit(
            train, k, blank.seed, wanted.config, workers=jobs, watch=lambda d: bar.show(clusters=k, distance=d)
        )
        bar.advance()
        return found

    return replace(blank, centres={k: centres(k) for k in wanted.clusters})


def _finished(folder: Path, identity: str, parts: Sequence[_Part]) -> bool:
    """Whether these very labels are there. Raises InputError when others are."""
    if not (folder / "label.json").exists():
        return False
    found = own.read_json(folder / "label.json", codebook.Labels, "Choose another -o or delete it.")
    if found.identity != identity:
        raise InputError(
            f"{folder}: other labels are here. Found layer {found.layer}, {found.fold}, clusters "
            f"{list(found.clusters)}, seed {found.seed}, or other data. Choose another -o or delete it."
        )
    there = [p.corpus.folder / "tracks" / c.track for p, c in zip(parts, found.corpora, strict=False)]
    return all((track / "track.json").exists() for track in there)


# -- hidden states -------------------------------------------------------------------------------------------


def _parts(
    run: Run, corpora: Sequence[Corpus], fold: str, layer: int, jobs: int | None, quiet: bool
) -> tuple[Any, list[_Part]]:
    """The run's backbone, and of every corpus the utterances to label and the rate and offset of their states."""
    kind = "finetune" if run.config["kind"] == "finetune" else "pretrain"
    backbone, it = network.load_backbone(Run.load(run.folder, kind))
    network.check_layer(backbone, layer, "--layer", run.folder)
    hop, receptive_field = hop_and_field(backbone)
    parts = []
    for corpus, train, dev in zip(corpora, *folds.parts(corpora, fold), strict=True):
        store = plan_store(corpus, it.plan, jobs=jobs, quiet=quiet)
        if store.dim != run.config["features"]:
            raise InputError(
                f"{corpus.folder}: {store.dim} features a frame of {it.plan.track}. {run.folder} was trained on "
                f"{run.config['features']}. Use a corpus with the same features."
            )
        sides = {"train": [u for u in train if u.id in store], "heldout": [u for u in dev if u.id in store]}
        part = _Part(
            corpus, sides, Steps([(store, sides["train"] + sides["heldout"])], it.plan.frontend, it.statistics)
        )
        part.rate_hz = part.steps.rate_hz / hop
        part.offset_s = store.offset_s - 0.5 / store.rate_hz + 0.5 * receptive_field / part.steps.rate_hz
        for u, (begin, end) in zip(part.utterances, part.steps.bounds.tolist(), strict=True):
            first, full = round(begin / store.rate_hz * part.rate_hz), store.lengths[u.id]
            spans = [max((part.steps.frontend.steps(n) - receptive_field) // hop + 1, 1) for n in (end - begin, full)]
            part.first[u.id], part.frames[u.id], part.slots[u.id] = first, spans[0], max(first + spans[0], spans[1])
        parts.append(part)
    if not any(part.sides["train"] for part in parts):
        raise InputError(f"{', '.join(str(c.folder) for c in corpora)}: no training utterances for fold {fold!r}.")
    return backbone, parts


def _batches(steps: Steps) -> list[np.ndarray]:
    """Utterances of like length together: 16,000 steps at a time, or half a minute of samples."""
    return list(sequential(steps.lengths, batch_steps=16000 if steps.rate_hz < 1000 else round(30 * steps.rate_hz)))


def _keep_states(backbone: Any, part: _Part, layer: int, weights: str, home: Path, half: bool, quiet: bool) -> None:
    """Fill `part.states`: the layer's states of every utterance, batch by batch to the disk; those there are kept."""
    made_by = {"model": weights, "layer": layer, "of": part.steps.stores[0].folder.name if part.utterances else ""}  # type: ignore[attr-defined]
    audio = part.corpus.info.get("audio_digest", "")
    name = f"{files.folder_name(part.corpus.name)}-{files.digest(made_by | {'half': half, 'audio': audio})}"
    head = Head("states", made_by, part.rate_hz, part.offset_s, backbone.dim, half)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone.eval().to(device)
    ids = [u.id for u in part.utterances]
    with TrackWriter(home / name, head) as writer, Bar(len(ids), f"states of {part.corpus.name}", quiet=quiet) as bar:
        # A batch half of which is there is computed whole: rounding depends on who is batched with whom.
        todo = [rows for rows in _batches(part.steps) if any(ids[i] not in writer for i in rows)]
        bar.advance(len(ids) - sum(map(len, todo)))
        for rows, (states, lengths) in network.in_batches(part.steps, todo, network.states_of(backbone, layer), device):
            for i, found, length in zip(rows, states.float().cpu().numpy(), lengths.tolist(), strict=True):
                if ids[i] not in writer:
                    writer.add(ids[i], found[:length])
            bar.advance(len(rows))
    part.states = TrackStore.open(home / name)


def _genders(parts: Sequence[_Part]) -> tuple[str, ...]:
    """Raises InputError when not every utterance's is known."""
    for part in parts:
        unknown = [u.id for u in part.utterances if not u.gender]
        if unknown:
            raise InputError(
                f"{part.corpus.folder}: no gender of {len(unknown)} of {len(part.utterances)} utterances, e.g. "
                f"{unknown[0]}. Leave --per-gender out, or prepare the corpus with genders."
            )
    return tuple(sorted({u.gender for part in parts for u in part.utterances}))


# -- units ---------------------------------------------------------------------------------------------------

Key = tuple[int, str]  # number of the part, utterance
Sets = dict[str, dict[str, tuple[Stacked, list[Key]]]]  # side -> gender -> frames, and whose they are


def _stack(parts: Sequence[_Part], side: str, gender: str) -> tuple[Stacked, list[Key]]:
    """All states of a side, of one gender where it is named."""
    ids = [[u.id for u in part.sides[side] if gender in ("", u.gender)] for part in parts]
    stacked = Stacked([(part.states, own) for part, own in zip(parts, ids, strict=True)])
    return stacked, [(p, id) for p, own in enumerate(ids) for id in own]


def _label(
    book: Codebook, sets: Sets, jobs: int | None, sides: Sequence[str] = SIDES
) -> tuple[dict[Key, np.ndarray], dict[Key, np.ndarray]]:
    """Units (T, L) of every utterance, and squared distances to their centres."""
    units: dict[Key, np.ndarray] = {}
    apart: dict[Key, np.ndarray] = {}
    for side in sides:
        for gender, (stacked, keys) in sets[side].items():
            if keys:
                found = book.label(stacked, gender, workers=jobs)
                for into, values in zip((units, apart), found, strict=True):
                    into.update(zip(keys, np.split(values, stacked.ends[:-1]), strict=True))
    return units, apart


def _write(p: int, part: _Part, book: Codebook, units: dict[Key, np.ndarray], seen: folds.Seen) -> Path:
    """The track of units of a corpus: every recording in full, -1 where there are no states."""
    made_by: dict[str, Any] = {"codebook": book.digest, "clusters": book.clusters, "units": book.units}
    made_by |= {"model": book.model, "layer": book.layer, "fold": book.fold, "heard": book.heard}
    folder = part.corpus.folder / "tracks" / f"units-{book.digest[:16]}"
    head = Head("units", files.plain(made_by), part.rate_hz, part.offset_s, len(book.clusters))
    with TrackWriter(folder, head, overwrite=True) as writer:
        for u in part.utterances:
            own, first = units[p, u.id], part.first[u.id]
            values = np.full((part.slots[u.id], len(book.clusters)), -1, np.float32)
            values[first : first + len(own)] = own
            writer.add(u.id, values)
    seen.keep(folder)
    return folder


def _quality(
    book: Codebook,
    parts: Sequence[_Part],
    sets: Sets,
    units: dict[Key, np.ndarray],
    apart: dict[Key, np.ndarray],
    others: Sequence[Codebook],
    jobs: int | None,
) -> dict[str, Any]:
    """The figures of label.json: of every label set on both sides, and against what is known of the same frames."""
    keys = {side: [key for _, own in sets[side].values() for key in own] for side in SIDES}
    people = {(p, u.id): u for p, part in enumerate(parts) for u in part.utterances}
    everything = Stacked([(parts[p].states, [id]) for p, id in keys["train"]])
    start = everything[0:1].astype(np.float32)
    spread = clustering.lloyd(everything, start, iterations=2, workers=jobs).inertia / everything.shape[0]
    again = [_label(other, sets, jobs, ["train"])[0] for other in others]

    def of_side(values: dict[Key, np.ndarray], side: str, column: int) -> list[np.ndarray]:
        return [values[key][:, column] for key in keys[side]]

    out = []
    for column, (k, kinds) in enumerate(zip(book.clusters, book.units, strict=True)):
        entry: dict[str, Any] = {"clusters": k, "units": kinds}
        for side in filter(keys.get, SIDES):
            rows = of_side(units, side, column)
            distance = float(np.concatenate(of_side(apart, side, column)).mean(dtype=np.float64))
            entry[side] = {
                "distance": distance,
                "explained": 1 - distance / spread if spread else 0.0,
                **cluster_quality.use(np.concatenate(rows), kinds),
                **cluster_quality.lasting(rows, parts[0].rate_hz),
                "names": _beside_names(rows, [people[key] for key in keys[side]]),
            }
        ours = np.concatenate(of_side(units, "train", column))
        entry["inertia"] = entry["train"]["distance"] * everything.shape[0]
        entry["counts"] = np.bincount(ours, minlength=kinds)
        entry["seeds"] = [
            {"seed": other.seed, **cluster_quality.between(ours, np.concatenate(of_side(found, "train", column)))}
            for other, found in zip(others, again, strict=True)
        ]
        out.append(entry)
    return {"frames": {side: sum(len(units[key]) for key in keys[side]) for side in SIDES}, "sets": out}


def _beside_names(rows: Sequence[np.ndarray], utterances: Sequence[Utterance]) -> dict[str, dict[str, float]]:
    """Agreement of the units (T,) of utterances with every class label, gender and speaker that is known of at least
    two kinds; each on the frames of those of whom it is known."""
    known: dict[str, list[str]] = {}
    for k, u in enumerate(utterances):
        words = {key: value for key, value in u.labels.items() if isinstance(value, str)}
        for key, value in {**words, "gender": u.gender, "speaker": u.speaker and f"{u.corpus}/{u.speaker}"}.items():
            known.setdefault(key, [""] * len(utterances))[k] = value
    units, found = np.concatenate(rows), {}
    for key, values in known.items():
        if len(set(values) - {""}) > 1:
            names = np.repeat(values, [len(row) for row in rows])
            found[key] = cluster_quality.against(units[names != ""], names[names != ""])
    return found


def _warnings(corpora: Sequence[Corpus], fold: str, seen: Sequence[str]) -> list[str]:
    """What has to be known before any figure."""
    if seen:
        return [f"Transductive: run or centres have seen {folds.some(seen, fold)}."]
    if any(corpus.folds for corpus in corpora) and not any(f.name == fold for c in corpora for f in c.folds):
        return ["Leaky: clusters were fitted on all speakers, test speakers of every fold included."]
    return []


def _estimate(backbone: Any, parts: Sequence[_Part], layer: int, clusters: Sequence[int], half: bool) -> None:
    """Time a few batches and say what the states will take."""
    done, begun = 0, time.monotonic()
    for part in parts:
        some = _batches(part.steps)[-3:]
        for rows, _ in network.in_batches(part.steps, some, network.states_of(backbone.eval(), layer)):
            done += int(part.steps.lengths[rows].sum())
    seconds = time.monotonic() - begun
    steps = sum(int(part.steps.lengths.sum()) for part in parts)
    spans = {side: sum(part.frames[u.id] for part in parts for u in part.sides[side]) for side in SIDES}
    size = sum(spans.values()) * backbone.dim * (2 if half else 4) / 2**30
    say(
        f"{sum(len(part.utterances) for part in parts)} utterances: {spans['train']} frames to fit "
        f"{', '.join(map(str, clusters))} clusters on, {spans['heldout']} of dev; {size:.2f} GiB of states "
        f"while working, about {seconds / max(done, 1) * steps / 60:.1f} min to make them on {runs.hardware()}. "
        "Nothing was written."
    )
