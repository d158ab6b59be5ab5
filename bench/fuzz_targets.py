"""What is fuzzed: files of ours and of others, small ones, and what reads them.

    targets(home) -> Target(name, files, use), one a kind; `use(folder)` reads a copy of the folder the files are in

A `use` goes on until nothing is left that a command would rely on: what a reader accepts must be good for what follows.
"""

import itertools
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from sottovoce import files
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import label as label_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.commands import study as study_command
from sottovoce.config import recipe as recipes
from sottovoce.corpora import base as readers
from sottovoce.corpora._cmu import read_folds
from sottovoce.data import audio, csd, fingerprints, folds, own, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.store import TrackStore, TrackWriter
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import compare, evaluate, phones, study
from sottovoce.inference import bulk, page, publish, recogniser, turns
from sottovoce.inference.load import load
from sottovoce.modeling import checkpoint, codebook, hub, loop, network
from sottovoce.pipeline import baselines, pooled, prepare, scan, strength
from sottovoce.pipeline.extract import track_store
from sottovoce.systems import run as systems
from sottovoce.tracks.covarep import NAMES

TINY = (
    *("backbone.width=16", "backbone.layers=1", "backbone.heads=1", "backbone.feedforward=8", "frontend.subsampling=4"),
    *("training.epochs=1", "training.batch_rows=8", "training.min_updates=0", "track.bins=8", "finetune.depth=0"),
    *("finetune.training.epochs=1", "finetune.training.min_updates=0", "finetune.l2=0.01"),
)
WORDS = ("angry", "happy", "sad", "neutral")
TONE = np.sin(np.arange(8000) * 0.3).astype(np.float32) * np.linspace(0, 0.5, 8000, dtype=np.float32)


@dataclass(frozen=True)
class Target:
    name: str
    home: Path  # folder that is copied
    files: tuple[str, ...]  # in it, one of which is damaged
    use: Callable[[Path], object]
    needs: tuple[str, ...] = ()  # folders in it that are copied; () = all


def targets(home: Path) -> list[Target]:
    """Makes what is not there yet below `home`."""
    for make in (_ours, _tables, _sound, _features):
        place, ready = home / make.__name__.strip("_"), home / f"{make.__name__}.ready"
        if not ready.exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            ready.write_text("")
    return [*_of_ours(home / "ours"), *_of_tables(home / "tables"), *_of_sound(home / "sound"),
            *_of_features(home / "features")]  # fmt: skip


# -- ours ---------------------------------------------------------------------------------------------------------


def _ours(home: Path) -> None:
    options = {"speakers": 4, "per_speaker": 4, "emotions": 2, "seconds": [0.5, 0.6], "unlabelled_speakers": 1}
    prepare.prepare("synthetic", home / "audio", home / "data", options=options, jobs=1)
    settings = list(TINY)
    pretrain_command.main(
        "masked_timesteps", [home / "data"], home / "pre", fold="fold1", settings=settings, tracker="none", jobs=1,
        quiet=True,
    )  # fmt: skip
    finetune_command.main(home / "data", home / "ft", init=str(home / "pre"), fold="fold1", quiet=True)
    evaluate.report_on(home / "ft", home / "ft", opensmile=False)
    label_command.main(
        home / "pre/fold1", [home / "data"], output=home / "units", layer=1, clusters="4", jobs=1, quiet=True
    )
    study_command.main(home / "data", home / "study", init=str(home / "pre"), labels="4", seeds=1, jobs=1, quiet=True)
    model, (config, data) = torch.nn.Linear(4, 4), ({"a": "1"}, {"values": torch.ones(3, 4)})
    optimiser = torch.optim.AdamW(model.parameters())
    state = {"identity": "x", "state": json.dumps(files.plain(loop.State(history=[{"loss": 1.0}])))}
    checkpoint.save(home / "states/last.safetensors", model, optimiser, {}, state)
    checkpoint.save_tensors(home / "states/pooled.safetensors", data, config | {"rows": '["a ", "b ", "c "]'})
    ranking = {"emotions": {"angry": {"weight": [1.0, 2.0], "low": 0.0, "high": 1.0}}, "mean": [0.0, 0.0]}
    ranking |= {"std": [1.0, 1.0], "functionals": "eGeMAPSv02", "speaker_norm": False}
    files.write_json(home / "states/ranking.json", {"synthetic": ranking})
    _answers(home)
    files.write_json(
        home / "states/download.json", [{"name": "x.zip", "checksum": None, "url": "http://x", "bytes": 1}]
    )


def _answers(home: Path) -> None:
    """What predict, push, export and audit leave."""
    model = recogniser.load(home / "ft")
    (home / "answers").mkdir()
    soundfile.write(home / "answers/a.wav", TONE, 16000)
    plan = bulk.Plan(model="x")
    journal = bulk.Journal(home / "answers/journal.jsonl", bulk.settings(plan, model))
    list(bulk.hear(model, plan, [home / "answers/a.wav"], journal))
    model(home / "answers/a.wav").to_json(home / "answers/a.json")
    (home / "answers/a.rttm").write_text("SPEAKER a 1 0.0 0.3 <NA> <NA> anna <NA> <NA>\n" * 2)
    explained = recipes.show(recipes.resolve("masked_timesteps", [Corpus.load(home / "data")], settings=TINY))
    (home / "answers/run.toml").write_text(explained)
    publish.save(model.models[0], home / "published/model", publish.Provenance("CC0-1.0", ("tones",)))
    _prints(home)


def _answered(folder: Path) -> None:
    place, model = folder / "answers", recogniser.load(folder / "ft")
    journal = bulk.Journal(place / "journal.jsonl", bulk.settings(bulk.Plan(model="x"), model))
    for suffix in (".csv", ".json"):
        bulk.Table(place / f"out{suffix}", [Path(path) for path in journal.done], journal).write()
    files.write_text(place / "a.html", page.of(page.read(place / "a.json"), place / "a.html"))
    turns.read(place / "a.rttm", place / "a.wav")
    corpus = Corpus.load(folder / "data")
    recipes.resolve("masked_timesteps", [corpus], config=place / "run.toml")


def _published(folder: Path) -> None:
    load(folder / "published/model")((TONE, 16000))


def _prints(folder: Path) -> None:
    corpus = Corpus.load(folder / "data")
    prints = fingerprints.of_corpus(corpus.folder, folder / "audio", corpus.utterances, corpus.contents)
    fingerprints.alike(list(prints.values()))


def _corpus(folder: Path) -> None:
    corpus = Corpus.load(folder / "data")
    task = Task.of(corpus)
    for fold in folds.choose(corpus, "all"):
        train, _ = folds.parts([corpus], fold.name)
        seen = folds.Seen.of([corpus], train)
        seen.test_people([corpus], fold)
        known = [corpus.by_id[k] for k in fold.train if task.has(corpus.by_id[k])]
        if known:
            baselines.trivial(task, task.values(known), 3, seed=0)
    track_store(corpus, "fbank", {"bins": 8}, jobs=1, quiet=True)


def _store(folder: Path) -> None:
    for place in sorted((folder / "data/tracks").glob("*/track.json")):
        store = TrackStore.open(place.parent)
        folds.seen_behind(store)
        for id in store.ids:
            assert np.isfinite(store[id]).all()
        with TrackWriter(place.parent, store.head) as writer:
            writer.add("new one", np.zeros((2, store.dim)))


def _finetuned(folder: Path) -> None:
    found = recogniser.load(folder / "ft")
    found((TONE, 16000))
    run = runs.parts(folder / "ft", "finetune")
    evaluate.cautions([r.config for r in run])
    folds.seen_by(run[0])
    compare.differing([compare.load(str(folder / "ft"))])


def _pretrained(folder: Path) -> None:
    (run,) = hub.parts(str(folder / "pre"))
    it = network.load_pretrained(run)
    corpus = Corpus.load(folder / "data")
    folds.run_for([run], [corpus], corpus.folds[0])
    with torch.inference_mode():
        it.backbone(torch.zeros(1, 9, it.plan.frontend.dim(run.config["features"])), torch.tensor([9]))


def _units(folder: Path) -> None:
    codebook.Codebook.load(folder / "units/codebook.safetensors")
    store = codebook.open_units(folder / "units", Corpus.load(folder / "data"))
    for id in store.ids:
        store[id]


def _results(folder: Path) -> None:
    systems_ = [replace(compare.load(str(folder / "ft")), name=name) for name in "ab"]
    compare.compare(systems_)
    own.read_json(folder / "ft/report.json", systems.Report)
    for run in runs.parts(folder / "ft"):
        evaluate.own.read_json(run.folder / "history.json", dict)


def _cells(folder: Path) -> None:
    task = Task("class", ("emotion",), ("a", "b"))
    for path in sorted((folder / "study/cells").glob("*.npz")):
        study.read_cell(path, task)


def _states(folder: Path) -> None:
    model = torch.nn.Linear(4, 4)
    keep = loop.Keep(folder / "states", "x")
    it = loop.Loop(
        model, None, torch.optim.AdamW(model.parameters()), None, None, None, None, keep, {}, {}, loop.State()
    )  # type: ignore[arg-type]
    loop.resume(it)
    pooled._kept(folder / "states/pooled.safetensors")
    strength.read_ranking(folder / "states/ranking.json")


def _generated(folder: Path) -> None:
    readers.reader("synthetic").utterances(folder / "audio")


def _scan(folder: Path) -> None:
    for look in scan.load(folder / "data/scan.csv", folder / "audio", Corpus.load(folder / "data").utterances).values():
        assert np.isfinite([look.seconds, look.peak]).all()


def _of_ours(home: Path) -> Iterator[Target]:
    def below(*patterns: str) -> tuple[str, ...]:
        return tuple(sorted(str(p.relative_to(home)) for pattern in patterns for p in home.glob(pattern)))

    def run(name: str) -> tuple[str, ...]:
        return below(f"{name}/fold1/config.json", f"{name}/fold1/*.safetensors", f"{name}/fold1/seen.json")

    names = below("data/manifest.csv", "data/folds.json", "data/corpus.json")
    yield Target("corpus", home, names, _corpus, ("data",))
    yield Target("contents", home, below("data/contents.csv"), _corpus, ("data",))
    yield Target("scan", home, below("data/scan.csv"), _scan, ("data",))
    yield Target("store", home, below("data/tracks/fbank*/*"), _store, ("data",))
    yield Target("fine-tuned", home, run("ft"), _finetuned, ("ft",))
    yield Target("pre-trained", home, run("pre"), _pretrained, ("pre", "data"))
    labels = below("units/*.json", "units/*.safetensors", "data/tracks/units*/*")
    yield Target("units", home, labels, _units, ("units", "data"))
    results = below("ft/predictions.csv", "ft/report.json", "ft/fold1/history.json")
    yield Target("results", home, results, _results, ("ft",))
    yield Target("cells", home, below("study/cells/*.npz"), _cells, ("study",))
    yield Target("checkpoint", home, below("states/*"), _states, ("states",))
    answers = below("answers/*.json*", "answers/*.rttm", "answers/*.toml")
    yield Target("answers", home, answers, _answered, ("answers", "ft", "data"))
    yield Target("published", home, below("published/model/*"), _published, ("published",))
    yield Target("fingerprints", home, below("data/fingerprints.npz"), _prints, ("data", "audio"))
    yield Target("generated", home, below("audio/*.json"), _generated, ("audio",))


# -- tables of others ---------------------------------------------------------------------------------------------


def _tables(home: Path) -> None:
    (home / "wav").mkdir(parents=True)
    rows = []
    for speaker, (k, word) in itertools.product(range(6), enumerate(WORDS)):
        path = f"wav/{speaker}_{word}.wav"
        soundfile.write(home / path, np.roll(TONE, 100 * speaker + k)[:2000], 16000)
        row = {"path": path, "emotion": word, "speaker": f"s{speaker}", "gender": "fm"[speaker % 2]}
        rows.append(row | {"start": "0", "end": "0.1", "valence": f"{k / 3:.3f}", "text": "Well, no."})
    files.write_csv(home / "t.csv", rows)
    (home / "t.tsv").write_text("\n".join("\t".join(map(str, r)) for r in ([*rows[0]], *(r.values() for r in rows))))
    (home / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files.write_json(home / "t.json", rows)
    files.write_csv(home / "split.csv", [r | {"split": "test" if r["speaker"] > "s3" else "train"} for r in rows])
    _parquet(home / "hf/data/train-00000-of-00001.parquet", rows, home)
    with tarfile.open(home / "x.tar", "w") as shard:
        for r in rows[:: len(WORDS) - 1]:
            (home / "said.json").write_text(json.dumps({k: r[k] for k in ("emotion", "speaker")}))
            shard.add(home / r["path"], r["path"])
            shard.add(home / "said.json", Path(r["path"]).with_suffix(".json"))
    files.write_csv(home / "wav/metadata.csv", [{"file_name": Path(r["path"]).name} | r for r in rows])
    files.write_json(home / "folds.json", {"v1": "train", "v2": "test", "v3": "valid"})
    files.write_csv(home / "folds.csv", [{"video": f"v{k}", "split": k % 3} for k in range(9)])
    (home / "folds.py").write_text("standard_train_fold = ['v1', 'v2']\nstandard_valid_fold = ['v3']\n")
    (home / "lexicon.txt").write_text("HELLO  HH AH L OW\nYOU  Y UW\n")
    (home / "1-2.trans.txt").write_text("1-2-0 HELLO YOU\n")
    _databases(home, rows)
    creak = {"input_low": [0.0] * 36, "input_step": [1.0] * 36}
    files.write_json(home / "creak.json", creak)


def _parquet(path: Path, rows: list, home: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True)
    sound = [{"bytes": (home / row["path"]).read_bytes(), "path": Path(row["path"]).name} for row in rows]
    table = {"audio": sound} | {key: [row[key] for row in rows] for key in ("emotion", "speaker")}
    pyarrow.parquet.write_table(pyarrow.table(table), path)


def _databases(home: Path, rows: list[dict[str, str]]) -> None:
    """Tables as audformat, EmoBox and IEMOCAP lay them out."""
    shutil.copytree(home / "wav", home / "audformat/wav")
    head = "schemes: {emotion: {dtype: str}, speaker: {dtype: str, labels: {s0: {gender: female}}}}\n"
    head += "splits: {train: {type: train}, test: {type: test}}\n"
    columns = "columns: {emotion: {scheme_id: emotion}, speaker: {scheme_id: speaker}}"
    head += f"tables: {{train: {{split_id: train, {columns}}}, test: {{split_id: test, {columns}}}}}\n"
    (home / "audformat/db.yaml").write_text(head)
    for part, members in (("train", rows[:16]), ("test", rows[16:])):
        cells = [{"file": r["path"], "emotion": r["emotion"], "speaker": r["speaker"]} for r in members]
        files.write_csv(home / f"audformat/db.{part}.csv", cells)
    shutil.copytree(home / "wav", home / "emobox/wav")
    for part, members in (("train", rows[:16]), ("test", rows[16:])):
        lines = [json.dumps({"key": Path(r["path"]).stem, "wav": r["path"], "emo": r["emotion"]}) for r in members]
        (home / "emobox/fold_1").mkdir(exist_ok=True)
        (home / f"emobox/fold_1/x_{part}_fold_1.jsonl").write_text("\n".join(lines) + "\n")
    for session in range(1, 6):
        name = f"Ses0{session}F_impro01"
        base, wavs = home / f"iemocap/Session{session}", home / f"iemocap/Session{session}/sentences/wav/{name}"
        wavs.mkdir(parents=True)
        (base / "dialog/EmoEvaluation").mkdir(parents=True)
        lines = []
        for k, word in enumerate(("neu", "hap", "sad", "ang")):
            turn = f"{name}_{'FM'[k % 2]}00{k}"
            lines.append(f"[{k}.0000 - {k}.9000]\t{turn}\t{word}\t[2.5000, 2.5000, 2.5000]")
            shutil.copyfile(home / rows[session]["path"], wavs / f"{turn}.wav")
        (base / f"dialog/EmoEvaluation/{name}.txt").write_text("\n".join(lines))


def _prepared(reader: str, source: str) -> Callable[[Path], None]:
    def use(folder: Path) -> None:
        prepare.prepare(reader, folder / source, folder / "made", prepare.Asked(decode=False), jobs=1)
        _fold_names_stay_inside(folder / "made")

    return use


def _fold_names_stay_inside(made: Path) -> None:
    corpus = Corpus.load(made)
    Task.of(corpus)
    for fold in corpus.folds:
        assert (made / fold.name).resolve().parent == made.resolve()


def _lists(folder: Path) -> None:
    for name in ("folds.json", "folds.csv", "folds.py"):
        read_folds(folder / name)


def _phones(folder: Path) -> None:
    phones.read_lexicon(folder / "lexicon.txt")
    phones.read_transcripts(folder)


def _of_tables(home: Path) -> Iterator[Target]:
    for name in ("t.csv", "split.csv", "t.tsv", "t.jsonl", "t.json"):
        yield Target(f"table {name}", home, (name,), _prepared("table", name))
    yield Target("parquet", home, ("hf/data/train-00000-of-00001.parquet",), _prepared("hf", "hf"))
    yield Target("tar", home, ("x.tar",), _prepared("tar", "x.tar"))
    yield Target("audiofolder", home, ("wav/metadata.csv",), _prepared("hf", "wav"))
    for reader, folder in (("table", "audformat"), ("table", "emobox"), ("iemocap", "iemocap")):
        told = [path for path in (home / folder).rglob("*.*") if path.suffix in (".yaml", ".csv", ".jsonl", ".txt")]
        names = tuple(sorted(str(path.relative_to(home)) for path in told))
        yield Target(folder, home, names, _prepared(reader, folder), (folder,))
    yield Target("fold lists", home, ("folds.json", "folds.csv", "folds.py"), _lists)
    yield Target("lexicon", home, ("lexicon.txt", "1-2.trans.txt"), _phones)


# -- sound --------------------------------------------------------------------------------------------------------


def _sound(home: Path) -> None:
    home.mkdir(parents=True)
    kinds = {
        "wav": "PCM_16 PCM_24 FLOAT ULAW IMA_ADPCM GSM610",
        "w64": "PCM_16",
        "rf64": "PCM_16",
        "aiff": "PCM_16 FLOAT",
    }
    kinds |= {"au": "PCM_16 FLOAT", "caf": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS OPUS", "mp3": "MPEG_LAYER_III"}
    kinds |= {"nist": "PCM_16", "voc": "PCM_16"}
    stereo = np.stack([TONE, TONE[::-1]], 1)
    for kind, subtypes in kinds.items():
        for subtype in subtypes.split():
            data = stereo if "PCM_16" in subtype and kind != "voc" else TONE
            soundfile.write(home / f"{subtype}.{kind}", data, 16000, subtype=subtype, format=kind.upper())
    for kind, container, codec, rate in (
        *(("m4a", "mp4", "aac", 16000), ("aac", "adts", "aac", 16000), ("webm", "webm", "libopus", 48000)),
        *(("mka", "matroska", "libopus", 48000), ("mov", "mov", "pcm_s16le", 16000), ("3gp", "3gp", "aac", 16000)),
        *(("amr", "amr", "libopencore_amrnb", 8000), ("ac3", "ac3", "ac3", 48000), ("tta", "tta", "tta", 16000)),
    ):
        _encode(home / f"coded.{kind}", container, codec, rate)


def _encode(path: Path, container: str, codec: str, rate: int) -> None:
    import av

    wave = soxr.resample(TONE, 16000, rate)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        shaped = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=size)
        for packet in [*shaped.resample(frame), *shaped.resample(None)]:
            out.mux(stream.encode(packet))
        out.mux(stream.encode(None))


def _heard(name: str) -> Callable[[Path], None]:
    def use(folder: Path) -> None:
        path = folder / name
        whole = audio.read(path).values
        assert np.isfinite(whole).all()
        assert np.abs(whole).max() < 1e6
        for _ in audio.blocks(path, 0.1):
            pass
        audio.read(path, 0.05, None)

    return use


def _of_sound(home: Path) -> Iterator[Target]:
    for path in sorted(home.iterdir()):
        yield Target(f"sound {path.name}", home, (path.name,), _heard(path.name))


# -- features of others -------------------------------------------------------------------------------------------


def _features(home: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
    for name, width, columns in (("COVAREP", 74, NAMES), ("All Labels", 7, names)):
        entries = []
        for k in range(6):
            n = 40 if width == 74 else 3
            times = np.linspace(0, 3, n + 1)
            values = np.abs(rng.normal(0.5, 0.4, (n, width))).clip(0, 3).astype(np.float32)
            entries.append((f"v{k}", values, np.stack([times[:-1], times[1:]], 1)))
        csd.write_csd(home / f"{name}.csd", name, entries, csd.sdk_metadata("x", columns, "y"))


def _mosei(folder: Path) -> None:
    prepare.prepare("mosei", folder, folder / "made", jobs=1)
    corpus = Corpus.load(folder / "made")
    try:
        for _, track in readers.reader("mosei").read_track(corpus.root, corpus.utterances, "covarep"):
            np.asarray(track.values, np.float64).sum()
    except InputError:
        pass


def _of_features(home: Path) -> Iterator[Target]:
    yield Target("csd", home, ("COVAREP.csd", "All Labels.csd"), _mosei)
