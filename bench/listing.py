"""What a process knows of a corpus before it begins: `python -m bench.listing [--rows 100000]`.

A manifest with two labels of recordings in shards of a thousand, the index of a store of them, what an extraction plans
(of which recordings, in which state), the marks of their contents: each in a process of its own, CPU seconds and MiB.
Truth: every row is known by its name.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from bench.extraction import A_SHARD, own_mib
from sottovoce import files
from sottovoce.data import contents
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.store import TrackStore, read_head
from sottovoce.pipeline import pieces, sources
from sottovoce.tracks.base import maker


def path(k: int) -> str:
    return f"{k // A_SHARD:06d}.tar#speaker{k % 997:03d}/{k:07d}.wav"


def utterances(rows: int) -> tuple[Utterance, ...]:
    labels = [{"emotion": emotion, "valence": 0.5} for emotion in ("happy", "neutral", "sad")]
    return tuple(
        Utterance(f"speaker{k % 997:03d}/{k:07d}", "many", path(k), speaker=f"{k % 997:03d}", labels=labels[k % 3])
        for k in range(rows)
    )


def write(home: Path, rows: int) -> None:
    them, kinds = utterances(rows), {"emotion": "class", "valence": "number"}
    classes = {"emotion": ("happy", "neutral", "sad")}
    Corpus(home, "many", home, them, (), kinds, classes, {}).save()  # type: ignore[arg-type]
    for shard in {u.path.partition("#")[0] for u in them}:
        (home / shard).touch()
    pairs = ((u.id, *(files.digest([u.id, of]).ljust(contents.SHORT, "0") for of in ("file", "samples"))) for u in them)
    contents.save(home, pairs)
    (home / "store").mkdir()
    head = {"track": "fbank", "config": {}, "rate_hz": 100.0, "offset_s": 0.0125, "dim": 1, "half": False}
    files.write_json(home / "store/track.json", head)
    (home / "store/values-000.f32").write_bytes(bytes(4 * rows))
    stamps = (f"{u.path}:8044:1764201600000000000:0.0:None" for u in them)
    with open(home / "store/index.jsonl", "w") as index:
        for k, (u, stamp) in enumerate(zip(them, stamps, strict=True)):
            index.write(f'["{u.id}", 0, {k}, 1, "{k:032x}:0.0:None", "{stamp}", "", {k}]\n')


def manifest(home: Path, them: tuple[Utterance, ...]) -> object:
    corpus = Corpus.load(home)
    assert corpus.utterances == them
    return corpus


def store(home: Path, them: tuple[Utterance, ...]) -> object:
    found = TrackStore.open(home / "store")
    assert len(found) == len(them)
    assert them[-1].id in found
    return found


def plan(home: Path, them: tuple[Utterance, ...]) -> object:
    corpus = Corpus(home, "many", home, them, (), {}, {}, {})
    stamp = sources.stamps_of(corpus)
    wanted = pieces.Wanted(corpus, maker("fbank"), None, home / "none", stamp, True, False, False, True)
    plan = pieces.plan(wanted, read_head(home / "store"), 0, overwrite=True)
    assert sum(len(piece.utterances) for piece in plan) == len(them)
    return stamp, plan


def marks(home: Path, them: tuple[Utterance, ...]) -> object:
    found = contents.of_corpus(home, home, them)
    assert len(found) == len(them)
    return found


PARTS: dict[str, Callable[[Path, tuple[Utterance, ...]], object]] = {
    "manifest": manifest, "store": store, "plan": plan, "marks": marks,
}  # fmt: skip


def measure(home: Path, part: str, rows: int) -> None:
    them = utterances(rows)
    gc.collect()
    before, began = own_mib(), time.process_time()
    known = PARTS[part](home, them)  # kept until its memory is read
    seconds = time.process_time() - began
    gc.collect()
    print(f"| {part} of {rows} | {own_mib() - before:.0f} MiB | {seconds:.1f} CPU s |", flush=True)
    assert known


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="utterances (default: %(default)s)")
    options = parser.parse_args()
    print("| what | of its own | time |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        write(Path(home), options.rows)
        for part in PARTS:
            child = get_context("spawn").Process(target=measure, args=(Path(home), part, options.rows))
            child.start()
            child.join()
            assert child.exitcode == 0, part


if __name__ == "__main__":
    main()
