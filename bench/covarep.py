"""Cost of COVAREP's 74 columns: `python -m bench.covarep [--minutes 3]`; truth is `python -m bench.covarep_parity`.

CPU seconds a second of audio on one core, in all, by stage and in silence, on the recordings of
$SOTTOVOCE_DATA/covarep_reference; how much two processes gain; and the memory that a long recording takes beyond its
samples. Whole signals of long recordings lie in temporary files (2 GB an hour), whose pages the system keeps in memory
only as long as it likes.
"""

import argparse
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile

from sottovoce import files
from sottovoce.tracks import covarep
from sottovoce.tracks.covarep import (
    cepstrum,
    closure,
    glottal,
    harmonics,
    inverse_filter,
    phase,
    pitch,
    polarity,
    residual,
    wavelets,
)

RATE_HZ, REPEATS = 16_000, 3
STAGES = (  # functions of `covarep.extract`, with what they call
    ("polarity", polarity, "polarity"),
    ("pitch: residual, SRH", pitch, "srh"),
    ("residual", residual, "lp_residual"),
    ("closure instants", closure, "sedreams"),
    ("MDQ", wavelets, "dispersion"),
    ("peakSlope", wavelets, "peak_slope"),
    ("inverse filtering", inverse_filter, "glottal_flow"),
    ("NAQ, QOQ, H1H2, PSP", glottal, "parameters"),
    ("sinusoids", harmonics, "sinusoids"),
    ("Rd", harmonics, "rd"),
    ("MCEP", cepstrum, "mcep"),
    ("HMPD: distortion", phase, "distortion"),
    ("HMPD: mean and deviation", phase, "_statistics"),
)


def extract(samples: np.ndarray) -> float:
    """CPU seconds."""
    start = time.process_time()
    covarep.extract(samples, RATE_HZ)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="length of the long recording (default: 3)")
    minutes = parser.parse_args().minutes
    folder = Path(os.environ.get("SOTTOVOCE_DATA", "")) / "covarep_reference"
    if not folder.is_dir():
        sys.exit("covarep: no recordings. Set SOTTOVOCE_DATA to the folder that holds covarep_reference.")
    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(folder.glob("*.wav"))]
    audio_s = sum(map(len, clips)) / RATE_HZ
    stages(clips, audio_s)
    silence(clips[0])
    processes(clips)
    memory(np.concatenate(clips), minutes)


def stages(clips: list[np.ndarray], audio_s: float) -> None:
    extract(clips[0])  # imports and tables
    cost = min(sum(map(extract, clips)) for _ in range(REPEATS)) / audio_s
    print(f"{len(clips)} recordings, {audio_s:.0f} s, one core\n")
    print("| stage | CPU s per s of audio |\n|---|---|")
    print(f"| **all of it** | **{cost:.3f}** (target 0.25) |")
    spent = dict.fromkeys((label for label, _, _ in STAGES), 0.0)
    with ExitStack() as stack:
        for label, module, name in STAGES:
            stack.enter_context(mock.patch.object(module, name, timed(getattr(module, name), label, spent)))
        for clip in clips:
            extract(clip)
    for label, seconds in spent.items():
        print(f"| {label} | {seconds / audio_s:.4f} |")


def timed(function: Callable, label: str, spent: dict[str, float]) -> Callable:
    def call(*arguments, **options):
        start = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[label] += time.process_time() - start

    return call


def silence(clip: np.ndarray) -> None:
    """What digital silence costs; beside it F0 is 1 Hz and a frame has thousands of harmonics."""
    spoken = min(extract(clip) for _ in range(REPEATS))
    for seconds in (1, 10):
        cost = min(extract(np.concatenate([clip, np.zeros(seconds * RATE_HZ), clip])) for _ in range(REPEATS))
        print(f"| {seconds} s of digital silence between two voices | {(cost - 2 * spoken) / seconds:.4f} |")


def processes(clips: list[np.ndarray]) -> None:
    """The same work with one worker and with two: wall time, and CPU time, which knows nothing of other programs."""
    wall, work = {1: np.inf, 2: np.inf}, {1: np.inf, 2: np.inf}
    for workers in (1, 2) * REPEATS:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(extract, clips[:workers]))  # started, imported
            start = time.perf_counter()
            work[workers] = min(work[workers], sum(pool.map(extract, clips)))
            wall[workers] = min(wall[workers], time.perf_counter() - start)
    print(
        f"| two processes instead of one | {wall[1] / wall[2]:.2f} x as fast by the clock (target 1.8), "
        f"{2 * work[1] / work[2]:.2f} x by CPU time |"
    )


def memory(voice: np.ndarray, minutes: float) -> None:
    """What Python and NumPy hold at most beyond the samples, at two lengths, and the line through them."""
    files.LARGE = 1 << 16  # temporary files from the beginning, as in recordings of more than 4 minutes
    hours, most = [], []
    for share in (0.5, 1.0):
        samples = np.resize(voice, int(share * minutes * 60 * RATE_HZ))
        tracemalloc.start()
        covarep.extract(samples, RATE_HZ)
        hours.append(len(samples) / RATE_HZ / 3600)
        most.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
        print(f"| {share * minutes:g} minutes: memory beyond the samples | {most[-1]:.0f} MiB |")
    growth = max(most[1] - most[0], 0) / (hours[1] - hours[0])
    print(f"| an hour, by the line through both | {most[1] + growth * (1 - hours[1]):.0f} MiB |")


if __name__ == "__main__":
    main()
