"""What happens to a recording on its way here: gain, telephone, codec, noise, other voices, a room.

A classifier that has only met clean speech takes the noise of a line for a way of speaking. So training uses some
recordings through these; and a bench plays each of them alone, to tell what a prediction loses by it.

All are functions of samples (N,) float32 at 16 kHz, which return as many, and of a generator where chance is in it.
Noise is measured against the speech: an SNR is that of the whole recording's power without its silent ends and pauses,
unless told otherwise.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import butter, fftconvolve, sosfilt

from sottovoce.data.audio import RATE_HZ

FRAME = RATE_HZ // 50  # 20 ms, for the power of speech
PAUSE_DB = 30.0  # what lies this far below the loudest frame is no speech


def gain(x: np.ndarray, db: float) -> np.ndarray:
    """Louder by `db`; what is over full scale is clipped, as converters do."""
    return np.clip(x * np.float32(10 ** (db / 20)), -1, 1)


def speech_power(x: np.ndarray) -> float:
    """Mean power of the frames of speech; 0 of silence."""
    frames = x[: len(x) // FRAME * FRAME].reshape(-1, FRAME) if len(x) >= FRAME else x[None]
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    return float(power[power >= power.max() * 10 ** (-PAUSE_DB / 10)].mean())


def mean_power(x: np.ndarray) -> float:
    """Of all samples, pauses too: what an SNR of torchaudio's add_noise or of Kaldi's wav-reverberate refers to."""
    return float(np.square(x, dtype=np.float64).mean())


def add(
    x: np.ndarray, noise: np.ndarray, snr_db: float, level: Callable[[np.ndarray], float] = speech_power
) -> np.ndarray:
    """`noise` (N,) under x, so many dB below its `level`: the power of its speech, or of all of it (`mean_power`)."""
    power = mean_power(noise)
    if power == 0:
        return x
    scale = (level(x) / power * 10 ** (-snr_db / 10)) ** 0.5
    return (x + np.float32(scale) * noise).astype(np.float32)


def coloured(count: int, rng: np.random.Generator, exponent: float = 0.0) -> np.ndarray:
    """Gaussian noise (count,) whose power falls with frequency ** exponent: 0 is white, 1 pink, 2 brown."""
    if not exponent:
        return rng.standard_normal(count, dtype=np.float32)
    size = next_fast_len(count, real=True)
    white = rng.standard_normal(size, dtype=np.float32)
    hz = np.maximum(rfftfreq(size, 1 / RATE_HZ), 20.0).astype(np.float32)
    return irfft(rfft(white) * hz ** np.float32(-exponent / 2), size)[:count]


def babble(count: int, voices: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Other recordings at once (count,): each as loud as the others, from a random position on, repeated as needed."""
    out = np.zeros(count, dtype=np.float32)
    for voice in voices:
        if power := speech_power(voice):
            out += np.resize(np.roll(voice, -int(rng.integers(len(voice)))), count) / np.float32(power**0.5)
    return out


def telephone(x: np.ndarray, low_hz: float = 300.0, high_hz: float = 3400.0, *, mu_law: bool = True) -> np.ndarray:
    """A line of 8 kHz: the band between two frequencies (low 0 = from the bottom), in 8 bits of mu-law (G.711)."""
    sos = (
        butter(6, high_hz, "lowpass", fs=RATE_HZ, output="sos")
        if low_hz <= 0
        else np.concatenate(
            [
                butter(2, low_hz, "highpass", fs=RATE_HZ, output="sos"),
                butter(8, high_hz, "lowpass", fs=RATE_HZ, output="sos"),
            ]
        )
    )
    x = sosfilt(sos, x).astype(np.float32)
    if not mu_law:
        return x
    peak = max(float(np.abs(x).max(initial=0)), 1e-9)  # a line is driven near its full scale
    companded = np.sign(x) * np.log1p(255 * np.abs(x) / peak) / np.log(256)
    companded = np.round(companded * 127) / 127
    return (np.sign(companded) * np.expm1(np.abs(companded) * np.log(256)) / 255 * peak).astype(np.float32)


def codec(x: np.ndarray, kind: str = "mp3", effort: float = 0.2) -> np.ndarray:
    """To MP3 ("mp3"), Opus or Vorbis ("opus", "vorbis") and back; effort 0 is the best quality, 0.9 the least."""
    form, subtype = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "vorbis": ("OGG", "VORBIS")}[kind]
    coded = io.BytesIO()
    soundfile.write(coded, x, RATE_HZ, format=form, subtype=subtype, compression_level=effort)
    coded.seek(0)
    back, _ = soundfile.read(coded, dtype="float32")
    return np.pad(back[: len(x)], (0, max(len(x) - len(back), 0)))


def room(x: np.ndarray, rng: np.random.Generator, seconds: float = 0.3, direct_db: float = 3.0) -> np.ndarray:
    """In a room that takes `seconds` to fall silent by 60 dB, its echoes `direct_db` below the voice itself.

    The echoes are noise that dies away (Polack's model), duller as it goes, from 2 to 10 ms after the voice.
    """
    count = int(seconds * RATE_HZ)
    tail = coloured(count, rng, 0.5) * np.exp(-6.9 * np.arange(count) / count, dtype=np.float32)
    tail[: int(rng.uniform(0.002, 0.010) * RATE_HZ)] = 0
    tail *= np.float32(10 ** (-direct_db / 20) / max(float(np.square(tail).sum()) ** 0.5, 1e-9))
    tail[0] = 1
    return fftconvolve(x, tail)[: len(x)].astype(np.float32)


@dataclass(frozen=True)
class Chances:
    """How often a recording meets what; several may meet. `clean` of them meet nothing."""

    clean: float = 0.0
    room: float = 0.25
    noise: float = 0.6
    babble: float = 0.4  # of the noise, where there are voices; the rest is white to brown
    telephone: float = 0.25
    codec: float = 0.2
    snr_db: tuple[float, float] = (0.0, 25.0)


def random(
    x: np.ndarray,
    rng: np.random.Generator,
    voices: Callable[[np.random.Generator], np.ndarray] | None = None,
    chances: Chances = Chances(),
) -> np.ndarray:
    """One chain of a room, noise, a line and a codec, drawn by chance.

    Args:
        voices: draws another recording (M,), for babble; without it noise is white to brown.
    """
    if rng.random() < chances.clean:
        return x
    if rng.random() < chances.room:
        x = room(x, rng, rng.uniform(0.12, 0.5), rng.uniform(-3, 9))
    if rng.random() < chances.noise:
        snr_db = rng.uniform(*chances.snr_db)
        if voices is not None and rng.random() < chances.babble:
            noise = babble(len(x), [voices(rng) for _ in range(rng.integers(3, 8))], rng)
        else:
            noise = coloured(len(x), rng, 0.0 if rng.random() < 0.5 else rng.uniform(0, 2))
        x = add(x, noise, snr_db)
    if rng.random() < chances.telephone:
        x = telephone(x, rng.choice([0.0, rng.uniform(100, 350)]), rng.uniform(3200, 3900), mu_law=rng.random() < 0.5)
    if rng.random() < chances.codec:
        peak = max(float(np.abs(x).max(initial=0)), 1e-9)
        name = ("mp3", "mp3", "vorbis", "opus")[rng.integers(4)]
        x = codec(x * np.float32(0.7 / peak), name, rng.uniform(0, 0.9)) * np.float32(peak / 0.7)
    return x
