"""`sottovoce extract`: a track of every utterance, computed once and kept.

    manifest --> recordings (or encoded feature files) --> maker in `tracks/` --> TrackStore
    TrackStore --> maker, or a trained model --> TrackStore     (energy, intensity, ...)

The folder carries the digest of the maker's configuration, and every utterance the hash of the audio it was
made from: nothing is skipped because a file exists. Ended early, by Ctrl-C or worse, it goes on from there.
What is made from recordings is made in pieces, each a shard of the store (`data.shards`), shown when all are there.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files, plugins
from sottovoce.config import recipe
from sottovoce.config.recipe import Recipe
from sottovoce.config.settings import from_mapping
from sottovoce.corpora import base as corpora
from sottovoce.corpora.base import Reader
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.progress import Bar
from sottovoce.data.runs import Run
from sottovoce.data.shards import Made
from sottovoce.data.store import Head, Source, TrackStore, TrackWriter, checked
from sottovoce.errors import InputError, few, in_shell, say, unknown_name
from sottovoce.modeling import network as models
from sottovoce.pipeline import pieces, sources
from sottovoce.pipeline.pieces import How, Wanted
from sottovoce.tracks import base as tracks
from sottovoce.tracks.base import Maker


def track_store(
    corpus: Corpus,
    track: str,
    settings: Mapping[str, Any] | None = None,
    *,
    jobs: int | None = None,
    quiet: bool = False,
) -> TrackStore:
    """The store of a track, after extracting what is missing.

    Utterances that `sottovoce extract --skip-broken` left out are left out here too: ask `id in store`.

    Args:
        track: a name in `sottovoce.tracks`.
        settings: fields of its `Config` that differ from the defaults; "half": True keeps float16.
        jobs: processes; None = one for every core, none for a handful of utterances. More than one needs
            `if __name__ == "__main__":` in the calling script, as everything that starts processes.
        quiet: no progress.

    Raises:
        InputError: an unknown track or setting, a track that this corpus cannot have, a recording that cannot
            be read (what could be is kept), a full disk.
    """
    return make_store(corpus, track, settings or {}, How(jobs, quiet))


def plan_store(corpus: Corpus, plan: Recipe, *, jobs: int | None = None, quiet: bool = False) -> TrackStore:
    """The store of the track that a recipe reads, see `track_store`."""
    return make_store(corpus, plan.track, asdict(plan.track_config), How(jobs, quiet))


def model_store(corpus: Corpus, track: str, run: Run, *, jobs: int | None = None, quiet: bool = False) -> TrackStore:
    """The store of a track that this trained model makes, after extracting what is missing."""
    maker = tracks.maker(track)
    config = replace(maker.Config(), **made_by(maker, run))
    return make_store(corpus, track, asdict(config), How(jobs, quiet), run)


def store_folder(corpus: Corpus, track: str, settings: Mapping[str, Any] | None = None) -> Path:
    """Where the store of this configuration lies, or would."""
    return _wanted(corpus, track, settings or {}).folder


def columns(track: str, dim: int) -> tuple[str, ...]:
    """Names of a track's columns: its own, or numbers where it names none for this width."""
    names = tracks.maker(track).NAMES
    return tuple(names) if len(names) == dim else tuple(f"{track}_{k}" for k in range(dim))


def find_model_store(
    corpus: Corpus, track: str, *, corpora: Sequence[Corpus] = (), fold: str = "", transductive: bool = False
) -> TrackStore:
    """The extracted store of a track that a trained model makes, whose model has not seen whom a fold tests.

    Args:
        track: its name, "intensity", or that of one store, "intensity-0c6d...", where there are several.
        corpora, fold: a fold of these corpora, whose test people it must not have seen.
        transductive: take one that has seen them all the same; the caller's report has to say so, and
            `folds.seen_behind` tells whom.

    Raises:
        InputError: none extracted, none whole, none but such that know these people, or several that do not.
    """
    name = plugins.current("tracks", track.partition("-")[0])
    patterns = [track] if "-" in track else [f"{n}-*" for n in (name, *plugins.earlier("tracks", name))]
    found = sorted(path for p in patterns for path in (corpus.folder / "tracks").glob(f"{p}/track.json"))
    again = f"`sottovoce extract {in_shell(corpus.folder)} --track {name} --model RUN"
    if not found:
        raise InputError(f"{corpus.folder}: no {track} extracted. A trained model makes it. Run {again}`.")
    stores = [TrackStore.open(path.parent) for path in found]
    stamp = sources.stamps_of(corpus)
    whole = [s for s in stores if not sources.missing(corpus, s, stamp)]
    if not whole:
        raise InputError(
            f"{stores[0].folder}: not whole. Found {len(stores[0])} of {len(corpus.utterances)} utterances as they are "
            f"now. Run {again}` once more."
        )
    known = [folds.seen_behind(s).test_people(corpora, fold) for s in whole]
    clean = [s for s, people in zip(whole, known, strict=True) if not people]
    allowed = clean or (whole if transductive else [])
    if len(allowed) > 1:
        names = ", ".join(f"{s.folder.name} ({s.head.config.get('made_by')})" for s in allowed)
        raise InputError(f"{corpus.folder}: several stores of {name}. Found {names}. Name one of them.")
    if allowed:
        return allowed[0]
    raise InputError(
        f"{whole[0].folder}: made by a model that has seen {folds.some(known[0], fold)} in training. "
        f"{again[:-4]} RUN --fold NAME` with the run that left them out, or allow it by name with --transductive."
    )


def made_by(maker: Maker, run: Run) -> dict[str, Any]:
    """What the Config of a model's track says about the model. Raises InputError for a run that cannot make it."""
    said = {
        "model": files.file_digest(run.weights),
        "made_by": f"{run.config.get('recipe', '')} {run.config['fold']}".strip(),
        "heard": tuple(sorted(run.seen_speakers)),
    }
    if maker.about is None:
        return said
    it = models.load_recognised(run)
    return said | maker.about(it, models.state_rate(it, it.plan.track_config.rate_hz)[0])


def model_runs(maker: Maker, model: Path | None, fold: str | None) -> Sequence[Run | None]:
    """The runs to extract with; [None] for tracks that need none.

    Raises InputError: a model where none is needed or the other way round, of another objective, an unknown fold.
    """
    name, kind = maker.name, maker.run_kind
    if not kind:
        if model is not None or fold is not None:
            raise InputError(f"{name} is made without a model. Found --model or --fold. Leave them out.")
        return [None]
    if model is None:
        raise InputError(f"{name} is made by a trained model. Found no --model. Name the run: --model runs/{name}.")
    found = runs.parts(model, kind)
    objective = found[0].config["settings"]["objective"]
    if kind == "pretrain" and objective != maker.OBJECTIVE:
        raise InputError(f"{model}: trained by {objective}. {name} needs a run of {maker.OBJECTIVE}.")
    if fold is None:
        return found[:1]
    if fold == "all":
        return found
    by_name = {run.config["fold"]: run for run in found}
    chosen = list(dict.fromkeys(name.strip() for name in fold.split(",")))
    if unknown := [name for name in chosen if name not in by_name]:
        raise unknown_name(f"fold of {model}", unknown[0], by_name)
    return [by_name[name] for name in chosen]


def _wanted(corpus: Corpus, track: str, settings: Mapping[str, Any], how: How = How()) -> Wanted:
    """The track of these settings, and where its store lies or would lie."""
    maker = tracks.maker(track)
    track, settings = maker.name, dict(settings)
    half = bool(settings.pop("half", maker.HALF))
    config = recipe.settled(track, from_mapping(maker.Config, settings, where=f"{track} settings"))
    # A maker whose values change for the same configuration raises its VERSION.
    decides = {"config": config, "half": half, "version": maker.VERSION}
    if maker.derive:
        decides["source"] = _wanted(corpus, maker.SOURCE, {}).folder.name
    names = (track, *plugins.earlier("tracks", track))
    homes = [corpus.folder / "tracks" / f"{name}-{files.digest({'track': name} | decides)}" for name in names]
    return Wanted(corpus, maker, config, half, next((home for home in homes if home.is_dir()), homes[0]), how)


def make_store(corpus: Corpus, track: str, settings: Mapping[str, Any], how: How, run: Run | None = None) -> TrackStore:
    """As `track_store`; `run` is the model of tracks that need one."""
    it, todo = _wanted(corpus, track, settings, how), list(corpus.utterances)
    reader, track = reader_of(corpus), it.maker.name
    if reader is not None and not reader.TRACKS:
        reader = None  # recordings
    if reader is not None and track not in reader.TRACKS:
        raise InputError(
            f"{corpus.folder}: no audio to make {track} from. Found encoded features: {', '.join(reader.TRACKS)}. "
            f"Use --track {reader.TRACKS[0]}."
        )
    if not how.overwrite and (it.folder / "track.json").is_file():
        todo = it.missing(TrackStore.open(it.folder))
    if todo:
        origin = _origin(it, run)
        if reader is not None:
            head = _first(reader, it, todo[0])
            broken = _stream(it, head, lambda todo, _: _from_features(reader, corpus, head, todo))
        elif origin is not None:
            head = Head(track, asdict(it.config), origin.rate_hz, origin.offset_s, it.config.dim, it.half)
            broken = _stream(it, head, lambda todo, writer: _from_track(it, origin, todo, writer))
        else:
            broken = pieces.make(it)
        _report(it, broken)
    if run is not None:
        folds.seen_by(run).keep(it.folder)
    return TrackStore.open(it.folder)


def _stream(
    it: Wanted, head: Head, work: Callable[[list[Utterance], TrackWriter], Generator[Made, None, None]]
) -> dict[str, str]:
    """What comes one after another goes into the store; id -> why of what is broken."""
    broken: dict[str, str] = {}
    with TrackWriter(it.folder, head, overwrite=it.how.overwrite) as writer:
        todo = it.missing(writer)  # another process may have done it while this one waited
        with (
            Bar(len(todo), f"extract {head.track}", quiet=it.how.quiet) as bar,
            contextlib.closing(work(todo, writer)) as made,
        ):
            for one in made:
                source = Source(one.key, it.stamp(one.id))
                if one.values is not None:
                    try:
                        checked(str(it.corpus.root / it.corpus.by_id[one.id].path), one.values, head)
                    except InputError as error:
                        one.why = str(error)
                    else:
                        writer.add(one.id, one.values, source)
                elif not one.why:
                    writer.restamp(one.id, source)
                if one.why:
                    broken[one.id] = one.why
                    if it.how.skip_broken:
                        writer.skip(one.id, one.why, source)
                bar.advance()
    return broken


def _report(it: Wanted, broken: dict[str, str]) -> None:
    """Say what was left out. Raises InputError where nothing may be."""
    folder, every = it.corpus.folder, it.corpus.utterances
    if broken and not it.how.skip_broken:
        first, *others = broken.values()
        if not others:
            raise InputError(f"{first} Or leave it out with `sottovoce extract {in_shell(folder)} --skip-broken`.")
        raise InputError(
            f"{folder}: no {it.maker.name} of {len(broken)} of {len(every)} utterances. Found: {first} "
            f"Also {few(list(broken)[1:], 5)}. Leave them out with `sottovoce extract --skip-broken`, which lists "
            "them all."
        )
    for id, why in () if it.how.quiet else broken.items():
        say(f"skipped {id}: {why}", err=True)


# -- from encoded features ----------------------------------------------------------------------------------


def reader_of(corpus: Corpus) -> Reader | None:
    """The reader that prepared a corpus; None for one under a name of its own, from a table or a folder."""
    name = corpus.info.get("reader", corpus.name)
    return corpora.reader(name) if name in plugins.names("corpora") else None


def _first(reader: Reader, it: Wanted, utterance: Utterance) -> Head:
    """The head of the store, from one utterance: files differ in frame rate and offset."""
    root, track = it.corpus.root, it.maker.name
    for _, found in reader.read_track(root, [utterance], track):
        return Head(track, asdict(it.config), found.rate_hz, found.offset_s, found.dim, it.half)
    raise InputError(
        f"{root / utterance.path}: no {track} of {utterance.id}. Found no frames. Run `sottovoce prepare` again."
    )


def _from_features(
    reader: Reader, corpus: Corpus, head: Head, todo: Sequence[Utterance]
) -> Generator[Made, None, None]:
    """As the reader streams them, which is the order of the files."""
    left = {u.id: u for u in todo}
    for id, found in reader.read_track(corpus.root, todo, head.track):
        path = corpus.root / left.pop(id).path
        if (found.rate_hz, found.dim) != (head.rate_hz, head.dim):
            raise InputError(
                f"{path}: {head.track} unlike the rest of the corpus. Found {found.dim} values at {found.rate_hz:g} "
                f"Hz, not {head.dim} at {head.rate_hz:g}. Prepare the two kinds as two corpora."
            )
        yield Made(id, values=found.values)
    for id, u in left.items():
        yield Made(id, why=f"{corpus.root / u.path}: no {head.track} of {id}. Found no frames.")


# -- from another track -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Origin:
    """The track something is made from, how, and the rate and offset of what comes out."""

    source: TrackStore
    make: Callable[[Sequence[Utterance]], Iterator[tuple[str, np.ndarray]]]
    rate_hz: float
    offset_s: float


def _origin(it: Wanted, run: Run | None) -> _Origin | None:
    """None for tracks made from recordings or read from files."""
    how = replace(it.how, overwrite=False, again=False)  # of what it is made from
    if it.maker.derive:
        return _by_rule(it, how)
    return _by_model(it, run, how) if it.maker.run_kind else None


def _by_rule(wanted: Wanted, how: How) -> _Origin:
    """By a maker that reads another track."""
    corpus, derive = wanted.corpus, wanted.maker.derive
    assert derive is not None
    source = make_store(corpus, wanted.maker.SOURCE, {}, how)
    present = [u for u in corpus.utterances if u.id in source]
    return _Origin(source, lambda some: derive(source, some, present, wanted.config), source.rate_hz, source.offset_s)


def _by_model(wanted: Wanted, run: Run | None, how: How) -> _Origin:
    """By a trained run, from the track it was trained on."""
    corpus, maker = wanted.corpus, wanted.maker
    if run is None:
        raise InputError(
            f"{corpus.folder}: {maker.name} of this model is not there, or not of all utterances. A trained model "
            f"makes it. Run `sottovoce extract {in_shell(corpus.folder)} --track {maker.name} --model RUN`."
        )

    device = "cuda" if torch.cuda.is_available() else "cpu"
    it: Any
    if maker.KIND:  # posteriors of a fine-tuned run
        it = models.load_recognised(run)
        it.network.to(device)

        def made(steps: Steps) -> Iterator[tuple[str, np.ndarray]]:
            found = models.frame_posteriors(it, steps, wanted.config.window_s)
            return ((steps.utterances[k].id, track.values) for k, track in found)
    else:  # what an objective's own layers say of every frame
        network, it = models.load_objective(run)
        assert maker.frames is not None
        judge = partial(maker.frames, network.to(device))

        def made(steps: Steps) -> Iterator[tuple[str, np.ndarray]]:
            return ((u.id, values) for u, values in models.framewise(steps, judge, device))

    source = make_store(corpus, it.plan.track, asdict(it.plan.track_config), how)
    present = [u for u in corpus.utterances if u.id in source]
    frontend = replace(it.plan.frontend, trim_db=0.0)  # every frame has its value

    def make(utterances: Sequence[Utterance]) -> Iterator[tuple[str, np.ndarray]]:
        asked = {u.id for u in utterances}
        steps = Steps([(source, present)], frontend, it.statistics)
        return made(steps.subset([k for k, u in enumerate(present) if u.id in asked]))

    if maker.KIND:
        return _Origin(source, make, *models.state_rate(it, source.rate_hz, source.offset_s))
    offset_s = source.offset_s + frontend.centre_s(source.rate_hz)
    return _Origin(source, make, source.rate_hz / frontend.subsampling, offset_s)


def _from_track(
    it: Wanted, origin: _Origin, todo: Sequence[Utterance], writer: TrackWriter
) -> Generator[Made, None, None]:
    """What has no source comes first, with the reason; then what has to be made, as its maker streams it."""
    source, skipped, fresh = origin.source, writer.skipped, []
    keys = {u.id: found.key for u in it.corpus.utterances if u.id in source and (found := source.source(u.id))}
    if it.maker.PER_SPEAKER:
        keys = sources.by_speaker(it.corpus, keys)
    for u in todo:
        if u.id not in source:
            yield Made(u.id, why=source.skipped.get(u.id, f"{u.path}: no {source.head.track}."))
        elif (known := writer.source(u.id)) and u.id not in skipped and known.key == keys[u.id]:
            yield Made(u.id, known.key)
        else:
            fresh.append(u)
    for id, values in origin.make(fresh):
        yield Made(id, keys[id], values=values)
