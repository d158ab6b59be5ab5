"""IAIF: the air flow through the glottis, found by taking the vocal tract out of the speech.

Alku, "Glottal wave analysis with pitch synchronous iterative adaptive inverse filtering", Speech Communication
11(2-3), 1992. Two rounds: a rough source (order 1, then 8) is taken out before the tract (order 20) is estimated, and
the tract is taken out to get the source. Here once per glottal closure, over the period before and the one after, and
the frames are added up.

Kept from the original: closures counted from 0 are used as sample numbers counted from 1, so frames lie one sample
early; overlapping frames are added without compensation for their windows.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy import fft, signal

from sottovoce.files import scratch
from sottovoce.tracks.covarep.closure import periods
from sottovoce.tracks.covarep.conventions import BLOCK, RATE_HZ, chunks, fir, hanning, levinson, lpc

TRACT, SOURCE = 20, 8  # orders of the predictions
LEAK = 0.99  # of the integrator that stands for the lips
SHORTEST = 21  # samples of a frame
RAMP = 21  # samples in front of a frame, to start the filters gently
TAPS, STOP_HZ, PASS_HZ = 301, 40.0, 70.0  # high-pass against rumble
BATCH = 1 << 15  # samples worked on at a time, so that they stay in the cache
LONG = 1 << 18  # samples of a frame that is worked on in blocks: 8 s without a voice on either side of a closure


def glottal_flow(samples: np.ndarray, closures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow through the glottis and its derivative, any scale; 0 where no closure is near.

    Args:
        samples: (N,) at 16 kHz, the right way up.
        closures: (G,) rising, samples counted from 0.

    Returns:
        flow (N,), derivative (N,).
    """
    flow, derivative = scratch(len(samples)), scratch(len(samples))
    period = periods(closures)
    start = np.maximum(closures - 1 - period, 0)
    length = np.minimum(closures + period, len(samples)) - start
    by_length = np.argsort(length, kind="stable")
    by_length = by_length[length[by_length] >= SHORTEST]
    for k in by_length[length[by_length] > LONG]:
        here = slice(start[k], start[k] + length[k])
        for total, own in zip((flow, derivative), iaif_in_blocks(samples[here]), strict=True):
            for part in chunks(length[k], BLOCK):
                total[here][part] += own[part]
    by_length = by_length[length[by_length] <= LONG]
    while len(by_length):  # the longest of those left decides how many fit
        count = max(1, BATCH // int(length[by_length[-1]]))
        batch, by_length = by_length[-count:], by_length[:-count]
        longest = length[batch[-1]]
        frames = np.zeros((len(batch), longest))
        window = np.zeros((len(batch), longest))
        for row, k in enumerate(batch):
            window[row, : length[k]] = hanning(length[k])
            frames[row, : length[k]] = samples[start[k] : start[k] + length[k]]
        flows, derivatives = iaif(frames * window, window)
        for row, k in enumerate(batch):
            here = slice(start[k], start[k] + length[k])
            flow[here] += flows[row, : length[k]]
            derivative[here] += derivatives[row, : length[k]]
    return flow, derivative


def iaif(frames: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow and derivative of single frames, all at once.

    Args:
        frames: (F, n) speech under its window, zero behind a shorter frame's end.
        window: (F, n) the windows, zero behind the end. Rows may differ in length.

    Returns:
        flow (F, n), derivative (F, n); 0 behind the end, and for a frame of zeros.
    """
    inside = window > 0
    x = np.where(inside, _high_pass(frames), 0.0)
    lead = np.linspace(-1, 1, RAMP) * x[:, :1]
    x = np.concatenate([lead, x], axis=1)  # (F, RAMP + n)

    def predict(y: np.ndarray, order: int) -> np.ndarray:
        return lpc(y[:, RAMP:] * window, order)

    def integrate(y: np.ndarray) -> np.ndarray:
        return signal.lfilter([1.0], [1.0, -LEAK], y)

    flow, derivative = _rounds(x, predict, fir, integrate)
    there = inside & (frames != 0).any(axis=1, keepdims=True)
    return np.where(there, flow[:, RAMP:], 0.0), np.where(there, derivative[:, RAMP:], 0.0)


def iaif_in_blocks(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for one frame of any length, (n,) without its window, in bounded memory.

    Returns:
        flow (n,), derivative (n,).
    """
    length = len(samples)
    if not any(samples[part].any() for part in chunks(length, BLOCK)):
        return scratch(length), scratch(length)

    def window(first: int, last: int) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(first + 1, last + 1) / (length + 1))

    whole = scratch(RAMP + length)
    x = whole[RAMP:]
    for part in chunks(length, BLOCK):
        first, last = max(part.start - TAPS // 2, 0), min(part.stop + TAPS // 2, length)
        there = np.zeros(part.stop - part.start + TAPS - 1)
        offset = first - part.start + TAPS // 2
        there[offset : offset + last - first] = samples[first:last] * window(first, last)
        x[part] = signal.oaconvolve(there, _taps(), mode="valid")
    whole[:RAMP] = np.linspace(-1, 1, RAMP) * x[0]

    def predict(y: np.ndarray, order: int) -> np.ndarray:
        r = np.zeros(order + 1)
        for part in chunks(length, BLOCK):
            last = min(part.stop + order, length)
            seen = y[RAMP + part.start : RAMP + last] * window(part.start, last)
            here = part.stop - part.start
            r += [seen[: min(here, len(seen) - lag)] @ seen[lag : lag + here] for lag in range(order + 1)]
        return levinson(r)

    def through(y: np.ndarray, b: np.ndarray, a: Sequence[float] = (1.0,)) -> np.ndarray:
        out, state = scratch(len(y)), np.zeros(max(len(a), len(b)) - 1)
        for part in chunks(len(y), BLOCK):
            out[part], state = signal.lfilter(b, a, y[part], zi=state)
        return out

    flow, derivative = _rounds(whole, predict, through, lambda y: through(y, np.ones(1), (1.0, -LEAK)))
    return flow[RAMP:], derivative[RAMP:]


def _rounds(
    x: np.ndarray,
    predict: Callable[[np.ndarray, int], np.ndarray],
    through: Callable[[np.ndarray, np.ndarray], np.ndarray],
    integrate: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Flow and derivative: the source roughly, the tract without it, the source better, the tract, the source."""
    tilt = through(x, predict(x, 1))
    source = integrate(through(x, predict(tilt, TRACT)))
    tract = integrate(through(x, predict(source, SOURCE)))
    derivative = through(x, predict(tract, TRACT))
    return integrate(derivative), derivative


def _high_pass(frames: np.ndarray) -> np.ndarray:
    """(F, n) -> (F, n), linear phase, the delay taken out."""
    length = frames.shape[1] + TAPS - 1
    size = fft.next_fast_len(length, real=True)
    spectrum = fft.rfft(frames, size) * fft.rfft(_taps(), size)
    return fft.irfft(spectrum, size)[:, TAPS // 2 : length - TAPS // 2]


@lru_cache(maxsize=1)
def _taps() -> np.ndarray:
    return signal.firls(TAPS, [0, STOP_HZ, PASS_HZ, RATE_HZ / 2], [0, 0, 1, 1], fs=RATE_HZ)
