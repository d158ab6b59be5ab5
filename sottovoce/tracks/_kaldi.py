"""Log-mel energies, deltas and normalisation as Kaldi computes them; the common ground of fbank and mfcc.

Kaldi (Povey et al., ASRU 2011) feat/feature-window.cc, feat/mel-computations.cc, feat/feature-functions.cc;
written from that description, checked against kaldi-native-fbank. The steps, for every 25 ms window: scale
to the range of 16-bit integers, subtract the mean, pre-emphasise, window, power spectrum (zero-padded to a
power of two), triangles on the mel scale 1127 ln(1 + f / 700), logarithm with a floor.

Departures: a signal shorter than one window is padded with zeros to one frame (Kaldi returns none); dither
is drawn once a sample, not once a window, and from a fixed seed, so that the same audio gives the same track.

N samples, T frames, W samples a window, F frequencies, M mel bins, D features.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np

from sottovoce.config.ranges import Count, NotNegative, Range, Settings, Share
from sottovoce.data.audio import RATE_HZ

FULL_SCALE = 32768.0  # samples in [-1, 1] become what Kaldi reads from a 16-bit file
LOG_FLOOR = float(np.finfo(np.float32).eps)  # energies below it have its logarithm, -15.94
CHUNK = 512  # frames at a time: their spectra stay in the cache of a core
Deltas = Annotated[int, Range(least=0, most=2)]
Cmvn = Literal["none", "mean", "utterance"]


@dataclass(frozen=True)
class Windows(Settings, group="track"):
    """Whole windows of a recording, one after another."""

    window_ms: Annotated[float, Range(least=2, most=1000)] = 25.0  # length of a window, milliseconds
    hop_ms: Annotated[float, Range(least=0.1, most=1000)] = 10.0  # from one window to the next, milliseconds

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return 1000.0 / self.hop_ms

    @property
    def offset_s(self) -> float:
        """Seconds of the first frame's centre."""
        return self.window_ms / 2000.0


@dataclass(frozen=True)
class Mel(Windows):
    """Windows and mel filters. Names say the unit; defaults are Kaldi's, except `dither` (Kaldi: 1)."""

    window: Literal["povey", "hamming", "hanning", "rectangular"] = "povey"  # povey: Hann ** 0.85
    preemphasis: Share = 0.97  # share of the sample before that is taken off; 0 = none
    remove_dc: bool = True  # subtract each window's mean
    dither: NotNegative = 0.0  # standard deviation in 16-bit steps
    snip_edges: bool = True  # True: whole windows only; False: one frame a hop, the ends mirrored
    bins: Count = 80  # M
    low_hz: NotNegative = 20.0  # lower end of the filters, Hz
    high_hz: float = 0.0  # 0 or below: counted from the Nyquist frequency

    def __post_init__(self) -> None:
        super().__post_init__()
        mel_filters(self, RATE_HZ)  # the edges and the number of bins must fit together

    @property
    def offset_s(self) -> float:
        """Seconds of the first frame's centre: half a window, or half a hop when the ends are mirrored."""
        return (self.window_ms if self.snip_edges else self.hop_ms) / 2000.0


def log_mel(samples: np.ndarray, rate_hz: float, config: Mel, *, energy: bool = False) -> np.ndarray:
    """Log-mel energies of a signal of any length, in bounded memory.

    Args:
        samples: (N,) in [-1, 1].
        rate_hz: samples per second.
        energy: put the log energy of the raw window (after the mean is gone) before the bins.

    Returns:
        (T, M) float32, or (T, 1 + M) with energy. T is 1 + (N - W) // hop, or with mirrored ends N / hop,
        rounded half up; at least 1.
    """
    from scipy.fft import rfft  # ten times as fast as NumPy's on short float32 rows

    width, hop = _samples(config.window_ms, rate_hz), _samples(config.hop_ms, rate_hz)
    size = 1 << (width - 1).bit_length()  # of the FFT
    filters = mel_filters(config, rate_hz)
    window = _window(config.window, width)
    signal = waveform(samples)
    if config.dither:
        noise = np.random.default_rng(0).standard_normal(len(signal), dtype=np.float32)
        signal = signal + np.float32(config.dither / FULL_SCALE) * noise
    signal, count = _framed(signal, width, hop, config.snip_edges)
    frames = np.lib.stride_tricks.sliding_window_view(signal, width)[::hop]  # (T, W), a view
    out = np.empty((count, filters.shape[1] + energy), dtype=np.float32)
    buffer = np.zeros((min(CHUNK, count), size), dtype=np.float32)
    for at in range(0, count, CHUNK):
        part = frames[at : min(at + CHUNK, count)]
        padded = buffer[: len(part)]
        x = padded[:, :width]
        np.multiply(part, np.float32(FULL_SCALE), out=x)
        if config.remove_dc:
            x -= x.mean(axis=1, keepdims=True)
        rows = out[at : at + len(part)]
        if energy:
            rows[:, 0] = np.einsum("tw,tw->t", x, x)
        if config.preemphasis:
            first = x[:, 0] * np.float32(1 - config.preemphasis)
            x[:, 1:] -= np.float32(config.preemphasis) * x[:, :-1]
            x[:, 0] = first
        x *= window
        spectrum = rfft(padded, axis=1)  # (t, F + 1)
        power = spectrum.real**2
        power += spectrum.imag**2
        np.matmul(power[:, :-1], filters, out=rows[:, int(energy) :])
    np.maximum(out, np.float32(LOG_FLOOR), out=out)
    return np.log(out, out=out)


def waveform(samples: np.ndarray) -> np.ndarray:
    """(N,) float32. Raises ValueError for another shape, and without a sample."""
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"a waveform is (N,) with N > 0, got {samples.shape}")
    return np.asarray(samples, dtype=np.float32)


def _samples(ms: float, rate_hz: float) -> int:
    return int(rate_hz * 0.001 * ms)


def _framed(signal: np.ndarray, width: int, hop: int, snip_edges: bool) -> tuple[np.ndarray, int]:
    """The signal extended so that frame k is [k * hop, k * hop + width), and the number of frames."""
    if snip_edges:
        if len(signal) < width:
            signal = np.pad(signal, (0, width - len(signal)))
        return signal, 1 + (len(signal) - width) // hop
    count = max(1, (len(signal) + hop // 2) // hop)
    before = width // 2 - hop // 2
    after = (count - 1) * hop + width - before - len(signal)
    if before < 0:  # a hop longer than the window
        signal, before = signal[min(-before, len(signal) - 1) :], 0
        after = (count - 1) * hop + width - len(signal)
    extended = np.pad(signal, (before, max(after, 0)), mode="symmetric")
    return extended, count


@lru_cache(maxsize=16)
def _window(name: str, width: int) -> np.ndarray:
    """(W,) float32."""
    phase = 2 * np.pi * np.arange(width) / (width - 1)
    hann = 0.5 - 0.5 * np.cos(phase)
    hamming = 0.54 - 0.46 * np.cos(phase)
    shapes = {"povey": hann**0.85, "hanning": hann, "hamming": hamming, "rectangular": np.ones(width)}
    return shapes[name].astype(np.float32)


def mel_filters(config: Mel, rate_hz: float) -> np.ndarray:
    """(F, M) float32 triangles, linear on the mel axis, F = half the FFT size (no Nyquist bin).

    Raises ValueError when the edges lie outside 0..Nyquist or a filter is so narrow that it holds no frequency.
    """
    width = _samples(config.window_ms, rate_hz)
    return _filters(config.bins, config.low_hz, config.high_hz, rate_hz, 1 << (width - 1).bit_length())


@lru_cache(maxsize=16)
def _filters(bins: int, low_hz: float, high_hz: float, rate_hz: float, size: int) -> np.ndarray:
    nyquist = rate_hz / 2
    high = high_hz if high_hz > 0 else nyquist + high_hz
    if not 0 <= low_hz < high <= nyquist:
        raise ValueError(f"0 <= low_hz < high_hz <= {nyquist:g} (Nyquist); got low_hz {low_hz:g}, high_hz {high_hz:g}")
    edges = np.linspace(_mel(low_hz), _mel(high), bins + 2)
    return triangles(edges, _mel(np.arange(size // 2) * (rate_hz / size)), size).astype(np.float32)


def triangles(edges: np.ndarray, at: np.ndarray, size: int) -> np.ndarray:
    """(F, M) filters that rise from one of the edges (M + 2,) to the next and fall to the one after it, read at (F,).

    Raises ValueError when a filter is so narrow that it holds no frequency of a spectrum of `size` points.
    """
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (at[:, None] - left) / (centre - left), (right - at[:, None]) / (right - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    if empty := int((~filters.any(axis=0)).sum()):
        raise ValueError(
            f"bins is too many for {size} point spectra: {empty} of {len(centre)} filters hold no frequency. "
            "Use fewer bins or a longer window"
        )
    return filters


def _mel(hz):
    return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)


def add_deltas(features: np.ndarray, order: int) -> np.ndarray:
    """(T, D) -> (T, D * (1 + order)): slopes over +-2 frames, and the slopes of these.

    As in Kaldi the second order is one filter over the features; beyond the ends the edge frame is held.
    """
    ramp = np.arange(-2, 3) / 10
    weights, parts = np.ones(1), [features]
    for _ in range(order):
        weights = np.convolve(weights, ramp)
        around = len(weights) // 2
        held = np.pad(features, ((around, around), (0, 0)), mode="edge")
        parts.append(sum(np.float32(w) * held[k : k + len(features)] for k, w in enumerate(weights) if w))  # type: ignore
    return np.concatenate(parts, axis=1) if order else features


def normalise(features: np.ndarray, how: str) -> np.ndarray:
    """Utterance-wise: "mean" subtracts each column's mean, "utterance" also divides by its deviation.

    A column that does not change becomes 0.
    """
    if how == "none":
        return features
    features = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    if how == "utterance":
        deviation = features.std(axis=0, dtype=np.float64)
        features /= np.where(deviation > 1e-5, deviation, 1.0).astype(np.float32)
    return features
