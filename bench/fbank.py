"""Speed and truth of fbank beside kaldi-native-fbank, one process, one core: `python -m bench.fbank`."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time

import kaldi_native_fbank as knf
import numpy as np

from sottovoce.data.track import Track
from sottovoce.tracks import fbank

SECONDS, CLIPS, REPEATS, RATE_HZ = 6.0, 20, 5, 16_000  # clips as long as utterances are


def oracle(samples: np.ndarray, config: fbank.Config) -> np.ndarray:
    """(T, bins) of kaldi-native-fbank with the same options."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = RATE_HZ
    options.mel_opts.num_bins = config.bins
    maker = knf.OnlineFbank(options)
    maker.accept_waveform(RATE_HZ, samples * 32768.0)
    maker.input_finished()
    return np.stack([maker.get_frame(k) for k in range(maker.num_frames_ready)])


def main() -> None:
    rng, config = np.random.default_rng(0), fbank.Config()
    time_s = np.arange(int(SECONDS * RATE_HZ)) / RATE_HZ
    tone = np.sign(np.sin(2 * np.pi * 120 * time_s)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s))
    clips = [(0.2 * tone + 0.02 * rng.standard_normal(len(time_s))).astype(np.float32) for _ in range(CLIPS)]
    ours, theirs = [], []
    for _ in range(REPEATS):  # CPU time of all threads: what one core does, whoever shares the machine
        start = time.process_time()
        a = [fbank.make(Track(clip, RATE_HZ), config).values for clip in clips]
        middle = time.process_time()
        b = [oracle(clip, config) for clip in clips]
        ours.append(middle - start)
        theirs.append(time.process_time() - middle)
    audio_s = SECONDS * CLIPS
    apart = max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))
    print(
        "| fbank, 80 bins | x real time per core | kaldi-native-fbank | ratio | largest difference (log energy) |\n"
        "|---|---|---|---|---|\n"
        f"| {CLIPS} clips of {SECONDS:.0f} s | {audio_s / min(ours):.0f} | {audio_s / min(theirs):.0f} "
        f"| {min(theirs) / min(ours):.1f} | {apart:.1e} |"
    )


if __name__ == "__main__":
    main()
