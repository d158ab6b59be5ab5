"""Whether `audit` accuses clean splits, finds changed copies, and how long it takes: `python -m bench.audit CORPUS`.

10,000 times the speakers of a corpus are dealt to train, dev and test; nobody is on two sides, so every leak is a false
alarm. Then recordings are cut, filtered and encoded, and looked for among all others.
"""

import io
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from sottovoce.data import audio, fingerprints
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.folds import person
from sottovoce.evaluation import audit

SPLITS, COPIED = 10_000, 200


def coded(wave: np.ndarray, rate: int = 16000, **how: object) -> np.ndarray:
    data = io.BytesIO()
    soundfile.write(data, wave, rate, **how)
    data.seek(0)
    return soundfile.read(data, dtype="float32")[0]


CHANGES = {
    "a fifth as loud": lambda w: w / 5,
    "cut, half a second off": lambda w: w[8001:],
    "Vorbis, lowest quality": lambda w: coded(w, format="OGG", subtype="VORBIS", compression_level=1.0),
    "MP3, low quality": lambda w: coded(w, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.95),
    "telephone, 8 kHz mu-law": lambda w: resample_poly(
        coded(resample_poly(w, 1, 2), 8000, format="WAV", subtype="ULAW"), 2, 1
    ),
    "noise, 20 dB": lambda w: w + 0.1 * w.std() * np.random.default_rng(0).standard_normal(len(w)),
}


def main() -> None:
    corpus = Corpus.load(Path(sys.argv[1]))
    started = time.process_time()
    twice = audit.pairs([corpus])
    first = time.process_time() - started
    started = time.process_time()
    twice = audit.pairs([corpus])
    again = time.process_time() - started
    print(
        f"{len(corpus.utterances)} recordings: {first:.1f} CPU seconds, {again:.1f} from the cache; {len(twice)} pairs"
    )
    people = sorted({person(u) for u in corpus.utterances})
    number = np.array([people.index(person(u)) for u in corpus.utterances])
    ids, rng, alarms = np.array([u.id for u in corpus.utterances]), np.random.default_rng(0), 0
    started = time.process_time()
    for _ in range(SPLITS):
        side = rng.integers(0, 3, len(people))[number]
        fold = Fold("split", "speaker", *(tuple(ids[side == k].tolist()) for k in range(3)))
        alarms += any(f.leak for f in audit.of_fold(corpus, fold, twice))
    print(f"{SPLITS} clean splits: {alarms} alarms, {time.process_time() - started:.0f} CPU seconds")
    some = corpus.utterances[:: max(len(corpus.utterances) // COPIED, 1)][:COPIED]
    own = fingerprints.of_corpus(corpus.folder, corpus.root, corpus.utterances, corpus.contents)
    known = [own[u.id] for u in corpus.utterances]
    print("| copies | found | of | strangers accused |\n|---|---|---|---|")
    for name, change in CHANGES.items():
        waves = [np.asarray(change(audio.read(corpus.root / u.path, u.start, u.end).values), np.float32) for u in some]
        copies = [fingerprints.of_samples(wave) for wave in waves]
        long = [k for k, c in enumerate(copies) if np.count_nonzero(c) >= fingerprints.LEAST]
        found = [p for p in fingerprints.alike([*known, *copies]) if p[1] >= len(known) > p[0]]
        right = {j - len(known) for i, j, *_ in found if corpus.utterances[i].id == some[j - len(known)].id}
        voice = [person(corpus.utterances[i]) != person(some[j - len(known)]) for i, j, *_ in found]
        print(f"| {name} | {len(right)} | {len(long)} | {sum(voice)} |")


if __name__ == "__main__":
    main()
