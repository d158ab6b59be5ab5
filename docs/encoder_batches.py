"""Batches of speech for `make_default_encoder.py`: what the teacher hears, and what the student hears of it.

All recordings lie on the device end to end, as they are and through codecs; a batch is cut from them, changed and
turned into log-mel bands there, so that a GPU never waits for a processor. The changes are those of
`sottovoce/data/augmentation.py`, here for many recordings at once.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sottovoce.data import audio, augmentation
from sottovoce.data.augmentation import FRAME
from sottovoce.tracks import logmel
from sottovoce.tracks._slaney import mel_filters
from sottovoce.tracks.logmel import FLOOR, HOP, RANGE, WINDOW

SOUNDS = {".wav", ".flac", ".ogg", ".mp3", ".opus"}
RATE = audio.RATE_HZ
BANDS = logmel.Config()  # how the encoder is used
CODECS = ("mp3", "opus", "vorbis")
WIDE_BAND = "librispeech"  # is drawn five times as often as its share: the rest holds nothing above 5.5 kHz


@dataclass(frozen=True)
class Chances:
    """Of what happens to a recording on its way to the student."""

    clean: float = 0.2
    codec: float = 0.3
    speed: float = 0.5  # of both, teacher and student: as if another voice spoke
    room: float = 0.3
    noise: float = 0.7
    babble: float = 0.5  # of the noises
    telephone: float = 0.25
    clipped: float = 0.15
    snr_db: tuple[float, float] = (-5.0, 25.0)


def read(folders: dict[str, Path]) -> tuple[list[np.ndarray], np.ndarray]:
    """Recordings (N,) int16, each as loud as the others, and which are of `WIDE_BAND`."""
    parts, wide = [], []
    for name, folder in folders.items():
        for path in sorted(p for p in folder.rglob("*") if p.suffix in SOUNDS):
            samples = np.asarray(audio.read(path).values, np.float32)
            if (loudest := float(np.abs(samples).max(initial=0))) >= 1e-3 and len(samples) > RATE // 2:
                parts.append((samples * (0.9 / loudest * 32767)).astype(np.int16))
                wide.append(name == WIDE_BAND)
    return parts, np.array(wide)


def _coded(job: tuple[np.ndarray, int]) -> np.ndarray:
    samples, seed = job
    rng = np.random.default_rng(seed)
    coded = augmentation.codec(samples.astype(np.float32) / 32767 * 0.7, CODECS[seed % 3], rng.uniform(0.3, 0.9))
    return (np.clip(coded, -1, 1) * 32767).astype(np.int16)


def coded(parts: list[np.ndarray], seed: int, processes: int) -> list[np.ndarray]:
    """The same through MP3, Opus or Vorbis, as many samples of each."""
    jobs = [(x, seed * 1_000_003 + k) for k, x in enumerate(parts)]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(_coded, jobs, chunksize=8))


class Batches:
    """Endless (teacher's bands (B, T, 80), student's (B, T, 80), frames (B,)), all on the device.

    Args:
        parts: the recordings; `through`: the same through codecs.
        batch_s: seconds of speech in a batch.
    """

    def __init__(
        self,
        parts: list[np.ndarray],
        through: list[np.ndarray],
        wide: np.ndarray,
        batch_s: float,
        device: torch.device,
        seed: int,
        chances: Chances = Chances(),
    ):
        self.samples = torch.from_numpy(np.stack([np.concatenate(parts), np.concatenate(through)])).to(device)
        lengths = np.array([len(x) for x in parts])
        self.lengths = torch.from_numpy(lengths).to(device)
        self.begins = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)
        self.weights = torch.from_numpy(lengths * np.where(wide, 5.0, 1.0)).to(device)
        self.batch_s, self.chances, self.device = batch_s, chances, device
        self.rng = torch.Generator(device).manual_seed(seed)
        self.plan = np.random.default_rng(seed)  # of what a whole batch shares
        self.filters = torch.from_numpy(mel_filters(BANDS.bins, WINDOW)).to(device)
        self.window = torch.hann_window(WINDOW, device=device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while True:
            seconds = self.plan.uniform(2, 6) if self.plan.random() < 0.8 else self.plan.uniform(6, 14)
            yield self.batch(seconds)

    @torch.no_grad()
    def batch(self, seconds: float) -> tuple[Tensor, Tensor, Tensor]:
        count = max(int(self.batch_s / seconds), 2)
        rows = torch.multinomial(self.weights, count, replacement=True, generator=self.rng)
        size = int(seconds * RATE) // (2 * HOP) * 2 * HOP
        speed = torch.where(self.happens(count, self.chances.speed), self.uniform(count, 0.85, 1.18), 1.0)
        lengths = (self.lengths[rows] / speed).long().clamp_max(size) // (2 * HOP) * 2 * HOP
        room = (self.lengths[rows] - lengths * speed).clamp_min(0)
        begins = self.begins[rows] + (room * self.uniform(count)).long()
        clean = self.cut(0, begins, lengths, speed, size)
        version = (self.happens(count, self.chances.codec)).long()
        changed = self.change(self.cut(version[:, None], begins, lengths, speed, size), lengths)
        spared = self.happens(count, self.chances.clean)[:, None]
        changed = torch.where(spared, clean, changed)
        return self.bands(clean, lengths), self.bands(changed, lengths), lengths // HOP

    def cut(self, version: Tensor | int, begins: Tensor, lengths: Tensor, speed: Tensor, size: int) -> Tensor:
        """(B, size) float32, faster by `speed` (cubic interpolation), zero after their lengths."""
        at = torch.arange(size, device=self.device) * speed[:, None]
        whole = at.floor()
        t = at - whole
        index = begins[:, None] + whole.long()
        a, b, c, d = (
            self.samples[version, (index + k).clamp(0, self.samples.shape[1] - 1)].float() / 32767
            for k in (-1, 0, 1, 2)
        )
        x = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        return x * (torch.arange(size, device=self.device) < lengths[:, None])

    def change(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, N) -> (B, N): room, noise, line, level, each by chance."""
        count, size = x.shape
        valid = torch.arange(size, device=self.device) < lengths[:, None]
        c = self.chances
        x = torch.where(self.happens(count, c.room)[:, None], self.in_a_room(x), x)
        snr = self.uniform(count, *c.snr_db)
        babble = self.happens(count, c.babble)[:, None]
        noise = torch.where(babble, self.babble(x), self.coloured(count, size))
        scale = (power(x) / noise.square().mean(1).clamp_min(1e-12) * 10 ** (-snr / 10)).sqrt()
        x = torch.where(self.happens(count, c.noise)[:, None], x + scale[:, None] * noise, x)
        x = torch.where(self.happens(count, c.telephone)[:, None], self.telephone(x), x)
        x = x * valid
        peak = x.abs().amax(1, keepdim=True).clamp_min(1e-6)
        over = 10 ** (self.uniform(count, 0, 9) / 20)[:, None]
        return torch.where(self.happens(count, c.clipped)[:, None], (x / peak * over).clamp(-1, 1) * peak, x)

    def in_a_room(self, x: Tensor) -> Tensor:
        count, size = x.shape
        echo = int(0.6 * RATE)
        at = torch.arange(echo, device=self.device) / RATE
        seconds, direct = self.uniform(count, 0.1, 0.6)[:, None], self.uniform(count, -3, 9)[:, None]
        tail = self.coloured(count, echo, 0.5) * torch.exp(-6.9 * at / seconds) * (at <= seconds)
        tail = tail * (at >= self.uniform(count, 0.002, 0.010)[:, None])
        tail = tail * 10 ** (-direct / 20) / tail.square().sum(1, keepdim=True).sqrt().clamp_min(1e-6)
        tail[:, 0] = 1
        whole = size + echo
        return torch.fft.irfft(torch.fft.rfft(x, whole) * torch.fft.rfft(tail, whole), whole)[:, :size]

    def babble(self, x: Tensor) -> Tensor:
        """Three to seven of the batch's other voices, each as loud as the others."""
        even = x / power(x).sqrt()[:, None].clamp_min(1e-6)
        out = torch.zeros_like(x)
        voices = self.uniform(len(x), 3, 8).floor()
        for k in range(7):
            shift = int(self.plan.integers(x.shape[1]))
            other = torch.roll(even.roll(int(self.plan.integers(1, len(x))), 0), shift, 1)
            out += other * (voices > k)[:, None]
        return out

    def coloured(self, count: int, size: int, most: float = 2.0) -> Tensor:
        """Noise (count, size), half of it white, the rest down to brown."""
        white = torch.randn(count, size, generator=self.rng, device=self.device)
        fall = torch.where(self.happens(count, 0.5), self.uniform(count, 0, most), 0.0)
        hz = torch.fft.rfftfreq(size, 1 / RATE, device=self.device).clamp_min(20.0)
        return torch.fft.irfft(torch.fft.rfft(white) * hz ** (-fall[:, None] / 2), size)

    def telephone(self, x: Tensor) -> Tensor:
        count, size = x.shape
        hz = torch.fft.rfftfreq(size, 1 / RATE, device=self.device)
        low = torch.where(self.happens(count, 0.5), self.uniform(count, 100, 350), 1e-3)[:, None]
        high = self.uniform(count, 3200, 3900)[:, None]
        shape = (1 + (hz / high) ** 24).rsqrt() * (1 + (low / hz.clamp_min(1e-6)) ** 6).rsqrt()
        x = torch.fft.irfft(torch.fft.rfft(x) * shape, size)
        peak = x.abs().amax(1, keepdim=True).clamp_min(1e-6)
        companded = torch.sign(x) * torch.log1p(255 * x.abs() / peak) / math.log(256)
        companded = (companded * 127).round() / 127
        coarse = torch.sign(companded) * torch.expm1(companded.abs() * math.log(256)) / 255 * peak
        return torch.where(self.happens(count, 0.5)[:, None], coarse, x)

    def bands(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Whisper's log-mel bands (B, T, 80) at the level of use; see `sottovoce/tracks/logmel.py`."""
        x = x * (BANDS.peak / x.abs().amax(1, keepdim=True).clamp_min(1e-6))
        x = x + 1e-6 * torch.randn(x.shape, generator=self.rng, device=self.device)
        spectrum = torch.stft(x, WINDOW, HOP, window=self.window, return_complex=True)[..., :-1]
        bands = (spectrum.abs().square().transpose(1, 2) @ self.filters).clamp_min(FLOOR).log10()
        inside = (torch.arange(bands.shape[1], device=self.device) < (lengths // HOP)[:, None])[..., None]
        loudest = bands.masked_fill(~inside, -10.0).amax((1, 2), keepdim=True)
        return (torch.maximum(bands, loudest - RANGE) + 4) / 4 * inside

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=self.rng, device=self.device)

    def happens(self, count: int, chance: float) -> Tensor:
        return self.uniform(count) < chance


def power(x: Tensor) -> Tensor:
    """(B, N) -> (B,): mean power of the frames that are no pauses."""
    frames = x[:, : x.shape[1] // FRAME * FRAME].unflatten(1, (-1, FRAME)).square().mean(2)
    speech = frames >= frames.amax(1, keepdim=True) * 10 ** (-augmentation.PAUSE_DB / 10)
    return (frames * speech).sum(1) / speech.sum(1).clamp_min(1)
