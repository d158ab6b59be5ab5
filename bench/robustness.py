"""What a run's answers lose on a telephone, in noise, in a room, through a codec: `python -m bench.robustness RUN`.

The test part of every fold again; each condition changes every recording in the same way, nothing is learned from it.
Noise has an SNR against the whole recording, as where torchaudio or Kaldi add it, and once more against its speech
alone, which is harder the more of a recording is silent (3 to 4 dB on RAVDESS).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sottovoce.data import audio, augmentation, runs
from sottovoce.data.augmented import Augmented, Change
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.runs import Run
from sottovoce.errors import InputError
from sottovoce.metrics import scores
from sottovoce.metrics.scores import MAIN
from sottovoce.modeling import network
from sottovoce.pipeline.extract import track_store
from sottovoce.tracks import base as tracks

Voice = Callable[[np.random.Generator], np.ndarray]
Noise = Callable[[int, np.random.Generator], np.ndarray]


def conditions(voice: Voice) -> dict[str, Change]:
    """Name -> change. `voice` draws a recording of somebody else, for babble (five at once)."""

    def babble(count: int, rng: np.random.Generator) -> np.ndarray:
        return augmentation.babble(count, [voice(rng) for _ in range(5)], rng)

    def added(noise: Noise, snr_db: float, level: Callable[[np.ndarray], float]) -> Change:
        return lambda x, rng: augmentation.add(x, noise(len(x), rng), snr_db, level)

    noises: dict[str, Change] = {
        f"{name}, {snr_db:g} dB{of}": added(noise, snr_db, level)
        for of, level in (("", augmentation.mean_power), (" below speech", augmentation.speech_power))
        for name, noise in (("white noise", augmentation.coloured), ("babble of five", babble))
        for snr_db in (15.0, 5.0)
    }
    return {
        "telephone band, 8 kHz": lambda x, rng: augmentation.telephone(x),
        "gain -20 dB": lambda x, rng: augmentation.gain(x, -20.0),
        "MP3, 32 kbit/s": lambda x, rng: augmentation.codec(x, "mp3", 0.6),
        "Opus, 32 kbit/s": lambda x, rng: augmentation.codec(x, "opus", 0.6),
        "small room, 0.3 s": lambda x, rng: augmentation.room(x, rng),
        **noises,
    }


def robustness(found: Sequence[Run]) -> Iterator[tuple[str, float]]:
    """(condition, UA or CCC), the recordings as they are first.

    Raises InputError for a run that does not read recordings.
    """
    corpus = Corpus.load(found[0].config["corpus"])
    make = tracks.maker(network.load_recognised(found[0]).plan.track).make
    if corpus.info.get("tracks") or make is None:
        raise InputError(f"{found[0].folder}: reads no recordings. Found encoded features. Robustness needs audio.")
    names: list[str | None] = [None, *conditions(_others(corpus, []))]
    for name in names:
        predictions, truth = [], []
        for run in found:
            it = network.load_recognised(run)
            store = track_store(corpus, it.plan.track, asdict(it.plan.track_config), quiet=True)
            test = [u for k in corpus.fold(run.config["fold"]).test if it.task.has(u := corpus.by_id[k]) and k in store]
            source: Any = store
            if name is not None:
                change = conditions(_others(corpus, test))[name]
                source = Augmented(corpus, store, make, it.plan.track_config, 0, change)
            predictions.append(network.predict(it, Steps([(source, test)], it.plan.frontend, it.statistics)))
            truth.append(it.task.values(test))
        answers = np.concatenate(predictions)
        answers = answers.argmax(1) if it.task.kind == "class" else answers
        yield name or "as recorded", float(scores.scores(it.task, np.concatenate(truth), answers)[MAIN[it.task.kind]])


def _others(corpus: Corpus, test: Sequence[Utterance]) -> Voice:
    """Draws recordings of the corpus that are not tested."""
    tested = {u.id for u in test}
    pool = [u for u in corpus.utterances if u.id not in tested] or corpus.utterances

    def voice(rng: np.random.Generator) -> np.ndarray:
        u = pool[int(rng.integers(len(pool)))]
        return np.asarray(audio.read(corpus.root / u.path, u.start, u.end).values, np.float32)

    return voice


def main() -> None:
    first = None
    print("| condition | UA | difference |\n|---|---|---|")
    for condition, value in robustness(runs.parts(sys.argv[1], "finetune")):
        first = value if first is None else first
        print(f"| {condition} | {value:.3f} | {value - first:+.3f} |", flush=True)


if __name__ == "__main__":
    main()
