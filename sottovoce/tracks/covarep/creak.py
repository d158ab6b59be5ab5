"""Creaky voice: twelve acoustic cues and a small network that turns them into a probability.

    H2-H1, peak prominence of the residual   Drugman, Kane & Gobl, "Resonator-based creaky voice detection",
                                             Interspeech 2012
    power peaks, periodicity, similarity     Ishi, Sakakibara, Ishiguro & Hagita, "A method for automatic detection of
                                             vocal fry", IEEE TASLP 16(1), 2008
    the twelve together, and the network     Kane, Drugman & Gobl, "Improved automatic detection of creak", Computer
                                             Speech & Language 27(4), 2013

The network's weights are part of the original, under its licence, and are not here: without them the column is 0, as
in the original without its toolbox. Whoever has the original's MAT files reads them with `scipy.io.loadmat`, writes the
arrays of `Network` into an `.npz` or `.json` file, and names it: `--set creak=mine.npz`.

The band-pass of Ishi's cues is run in second-order sections. As the single polynomial of order 14 that the original
runs, it returns up to 2 % of rounding noise, so periodicity, similarity, fall and rise agree with the original
only that far. Of the others, five in a thousand peak prominences differ, and what lies next to exact silence.
"""

import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy import fft, signal

from sottovoce.errors import InputError
from sottovoce.tracks.covarep.conventions import RATE_HZ, STEP, frames, hanning, interpolate, is_peak, rounded
from sottovoce.tracks.covarep.pitch import srh
from sottovoce.tracks.covarep.residual import lp_residual

NAMES = (
    *("H2H1", "peak_prominence", "zero_crossings", "periodicity", "similarity", "power_fall", "power_rise"),
    *("F0", "F0_median", "energy", "power_deviation", "F0_local"),
)
LOWEST_HZ, HIGHEST_HZ = 20, 500  # creak is slow
BAND_HZ, BAND_ORDER = (92.66096, 1611.31922), 7  # Butterworth: 3 dB at 100..1500 Hz, 40 dB at 50 and 3000 Hz
HOLD = 560  # samples before a power peak in which it speaks, 35 ms
APART = 1600  # samples, 100 ms: peaks further apart are not compared


@dataclass(frozen=True)
class Network:
    """36 inputs, 32 tanh units, one logistic output."""

    minimum: np.ndarray  # (36,) of the training data: scaled to -1
    maximum: np.ndarray  # (36,) scaled to 1
    hidden_weights: np.ndarray  # (32, 36)
    hidden_bias: np.ndarray  # (32,)
    output_weights: np.ndarray  # (32,)
    output_bias: np.ndarray  # ()

    @classmethod
    def load(cls, path: Path | str) -> "Network":
        """From an `.npz` (no pickled objects) or a `.json` file that holds the six arrays by name.

        Raises InputError: no such file, not such a file, an array missing or of the wrong shape.
        """
        path = Path(path)
        width, hidden = 3 * len(NAMES), 32
        sizes: list[tuple[int, ...]] = [(width,), (width,), (hidden, width), (hidden,), (hidden,), ()]
        shapes = dict(zip((f.name for f in fields(cls)), sizes, strict=True))
        try:
            found = json.loads(path.read_text()) if path.suffix == ".json" else dict(np.load(path, allow_pickle=False))
            arrays = {name: np.asarray(found[name], dtype=np.float64) for name in shapes}
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            why = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise InputError(
                f"{path}: no creak network. Found: {why}. Give an .npz or .json file with {', '.join(shapes)}."
            ) from None
        for name, shape in shapes.items():
            if arrays[name].size != np.prod(shape) or not np.isfinite(arrays[name]).all():
                raise InputError(
                    f"{path}: {name} does not fit. Found shape {arrays[name].shape}, expected {shape}, finite. "
                    "See sottovoce/tracks/covarep/creak.py."
                )
        return cls(**{name: arrays[name].reshape(shape) for name, shape in shapes.items()})

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(R,) probabilities of creak for inputs (R, 36); NaN counts as the smallest value."""
        scaled = 2 * (inputs - self.minimum) / (self.maximum - self.minimum) - 1
        scaled = np.where(np.isnan(inputs), -1.0, scaled)
        hidden = np.tanh(scaled @ self.hidden_weights.T + self.hidden_bias)
        return 1 / (1 + np.exp(-(hidden @ self.output_weights + self.output_bias)))


def creak(samples: np.ndarray, network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Position (R,), sample numbers counted from 1, and probability of creak (R,) there.

    Args:
        samples: (N,) at 16 kHz, the right way up.
    """
    found = inputs(samples)
    return STEP * np.arange(1, len(found) + 1), network(found)


def inputs(samples: np.ndarray) -> np.ndarray:
    """(R, 36) the twelve cues, their differences from row to row, and the differences of these; R = N // 160.

    Row r sits at sample number 160 (r + 1). Digital silence leaves NaN in some cues, and as the original's resonators
    never forget one, everything that rests on the residual is without meaning from there on.
    """
    cues = np.full((len(samples) // STEP, len(NAMES)), np.nan)
    if len(samples) > 2 * 800 and np.ptp(samples) > 0:
        with np.errstate(all="ignore"):
            _fill(cues, samples)
    slope = np.diff(cues, axis=0, prepend=cues[:1])
    return np.concatenate([cues, slope, np.diff(slope, axis=0, prepend=slope[:1])], axis=1)


def _fill(cues: np.ndarray, samples: np.ndarray) -> None:
    rows, count = len(cues), len(samples)
    at = STEP * np.arange(1, rows + 1)  # sample numbers
    stretched = np.linspace(1, count, rows)  # where rows lie when they are spread over the recording instead

    def over_file(values: np.ndarray) -> np.ndarray:
        """Values spread evenly over the recording, read at the rows' samples."""
        return interpolate(at, np.linspace(1, count, len(values)), values)

    pitch = srh(samples, LOWEST_HZ, HIGHEST_HZ)
    median_hz = pitch.median_hz(0, np.inf)
    residual = lp_residual(samples, 18)
    ringing = _resonate(residual, median_hz, 0.8)
    starts = np.arange(0, count - 512 + 1, 80)
    energy = np.log(np.mean((frames(samples, starts, 512) * hanning(512)) ** 2, axis=1))
    energy -= energy.max()
    power = _power(samples)

    local_hz, difference = _harmonics(_resonate(residual, median_hz, 0.97), ringing)
    cues[:, 0] = over_file(_smooth(difference))
    place, prominence = _prominence(ringing, median_hz, energy)
    cues[:, 1] = np.nan_to_num(interpolate(at, place, prominence))
    crossings = np.add.reduce(frames((samples[1:] >= 0) != (samples[:-1] >= 0), starts, 511), axis=1) / 32
    cues[:, 2] = np.nan_to_num(interpolate(at, starts + 80 + 256.5, crossings))  # sits in the next frame's centre
    sections = signal.butter(BAND_ORDER, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    banded = signal.sosfiltfilt(sections, samples, padtype="odd", padlen=3 * 2 * BAND_ORDER)
    place, periodic = _periodicity(banded)
    cues[:, 3] = np.nan_to_num(interpolate(stretched, place, periodic))
    cues[:, 4:7] = _held(*_power_peaks(banded), stretched)
    cues[:, 7] = interpolate(np.linspace(0, len(pitch.f0_hz) - 1, rows), np.arange(len(pitch.f0_hz)), pitch.f0_hz)
    cues[:, 8] = median_hz
    cues[:, 9] = over_file(energy)
    deviation = np.zeros(len(power))
    deviation[16:-16] = np.std(frames(power, np.arange(len(power) - 32), 33), axis=1, ddof=1)
    cues[:, 10] = over_file(signal.medfilt(np.nan_to_num(deviation), 13))
    cues[:, 11] = over_file(_smooth(signal.medfilt(local_hz, 7)))


def _resonate(residual: np.ndarray, f0_hz: float, radius: float) -> np.ndarray:
    """(N,) through a pair of poles at F0, largest magnitude 1."""
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * f0_hz / RATE_HZ), radius**2]
    ringing = signal.lfilter([1.0], poles, residual)
    known = ringing[~np.isnan(ringing)]
    return ringing / np.abs(known).max(initial=0) if len(known) else ringing


def _harmonics(sharp: np.ndarray, ringing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local F0 in Hz (F,), from `ringing`, and the level of its second over its first harmonic in `sharp` (F,)."""
    length, window = 800, hanning(800)
    starts = np.arange(0, len(sharp) - length, STEP)
    lags = np.arange(length - 1)  # of lags 1 .. 799
    near = _autocorrelation(frames(ringing, starts, length) * window)[:, 1:] * ((length - 1) / (length - 1 - lags))
    near[np.logical_and.accumulate(near > 0, axis=1)] = 0.0  # what is left of lag 0
    f0 = rounded(RATE_HZ / (np.nan_to_num(near)[:, 4:].argmax(axis=1) + 5))
    far = _autocorrelation(frames(sharp, starts, length) * window**2)[:, 1:]
    level = 20 * np.log10(np.abs(fft.rfft(far, RATE_HZ)))
    row = np.arange(len(f0))
    return f0.astype(np.float64), level[row, 2 * f0 - 1] - level[row, f0 - 1]


def _autocorrelation(rows: np.ndarray) -> np.ndarray:
    """(F, n) -> lags (F, n), 0 first."""
    length = rows.shape[1]
    return fft.irfft(np.abs(fft.rfft(rows, 2 * length)) ** 2, 2 * length)[:, :length]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Moving average over 9, over fewer at the ends."""
    out = values.copy()
    for half in range(1, 5):
        reach = slice(half, len(values) - half)
        if len(values) > 2 * half:
            out[reach] = np.convolve(values, np.ones(2 * half + 1) / (2 * half + 1), "valid")
    return out


def _prominence(ringing: np.ndarray, f0_hz: float, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the main peak of the excitation stands above its surroundings: position (F,), value (F,) in 0..1."""
    c = 90 if f0_hz > 100 else 80 if f0_hz == 100 else 65 if f0_hz >= 85 else 55
    half = int(rounded(RATE_HZ / c))
    blank = int(rounded(0.2 * 2 * half))
    at = np.linspace(1, len(ringing), len(energy))
    starts = np.arange(0, len(ringing) - 2 * half, 320)
    out = np.zeros(len(starts))
    for k, start in enumerate(starts):
        here = np.nan_to_num(np.abs(ringing[start : start + 2 * half]))
        peak = start + int(here.argmax())
        if peak - half + 1 < 0 or peak + half + 2 > len(ringing):
            continue
        around = np.nan_to_num(ringing[peak - half + 1 : peak + half + 2])
        around = around * (1 if around.max() > -around.min() else -1)
        top = around.max() or 1.0
        around[half - 1 - blank : half + blank] = 0.0
        centre = start + half + 1
        low, high = np.searchsorted(at, [centre - 6400, centre + 6400])
        if not np.interp(centre, at, energy) < np.nanmax(energy[low:high]) - 4:
            out[k] = 1 - around.max() / top
    return starts + half + 1, signal.medfilt(out, 5)


def _power(samples: np.ndarray) -> np.ndarray:
    """(F,) of 4 ms every 2 ms, as 20 log10."""
    return 20 * np.log10(np.mean(frames(samples, np.arange(0, len(samples) - 64 + 1, 32), 64) ** 2, axis=1))


def _periodicity(banded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of frames of 32 ms: position (F,) and the weakest of the peaks at multiples of the best lag (F,), 0..1."""
    length, last, near = 512, 240, 16
    starts = np.arange(0, len(banded) - length + 1, STEP)
    found = _autocorrelation(frames(banded, starts, length))[:, : last + 1]
    found = found / found[:, :1] * (length / (length - 1 - np.arange(last + 1)))
    found[:, :16] = 0.0
    peaks = np.where(is_peak(found), found, -np.inf)
    weakest = np.zeros(len(starts))
    for k, lag in enumerate(np.nan_to_num(found).argmax(axis=1)):
        weakest[k] = found[k, lag]
        for multiple in range(2 * lag, last + 1, max(lag, 1)):
            there = peaks[k, multiple - near : multiple + near + 1].max(initial=-np.inf)
            if np.isfinite(there):
                weakest[k] = min(weakest[k], there)
    alone = np.zeros(len(starts), dtype=bool)
    alone[:-3] = (weakest[1:-2] < 0.5) | (weakest[2:-1] < 0.5)
    return starts + 256, np.clip(np.nan_to_num(np.where(alone, 0.0, weakest)), 0, 1)


def _power_peaks(banded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of the short-time power: position (K,), and (K, 3) similarity to the one before, fall and rise in dB."""
    power, reach, half = _power(banded), 5, 120
    top = np.flatnonzero(is_peak(power))
    top = top[(top >= reach) & (top < len(power) - reach)]
    top = top[(power[top] - power[top - 3] >= 2) & (power[top] - power[top + 3] >= 2)]
    top = top[power[top] >= power[top].max(initial=-np.inf) - 30]
    position, values = 32 * top + 33, np.zeros((len(top), 3))
    before = None
    for k, (peak, at) in enumerate(zip(top, position, strict=True)):
        values[k, 1] = power[peak] - power[peak : peak + reach + 1].min()
        values[k, 2] = power[peak] - power[peak - reach : peak + 1].min()
        now = banded[max(at - 1 - half, 0) : at + half]
        if before is not None and at - position[k - 1] <= APART:
            values[k, 0] = signal.correlate(before, now).max() / np.sqrt((before @ before) * (now @ now))
        before = now
    return position, values


def _held(position: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(T, 3) values of the next peak where it is at most 35 ms ahead of the sample numbers `at` (T,), else 0."""
    out = np.zeros((len(at), 3))
    if len(position):
        ahead = np.searchsorted(position, at)
        near = np.minimum(ahead, len(position) - 1)
        held = (ahead < len(position)) & (position[near] - at <= HOLD)
        out[held] = values[near[held]]
        # In the first 35 ms the first peak goes on speaking until the next one is nearer than the file's beginning.
        early = (at < HOLD) & (at > position[0]) & (at <= position[near] - at)
        out[early] = values[0]
    return out
