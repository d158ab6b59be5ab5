"""A recogniser as one graph of tensors, from samples to the answer: what `sottovoce export` writes.

The arithmetic is that of `tracks/logmel.py`, `data/frames.py`, `data/dataset.py` and the network, said once more so
that a graph can hold it: rows of different lengths together, no loop, no condition on values. Departures: spectra in
float32 are products with sines and cosines instead of an FFT in float64; attention learns of padding from one more
column of its keys, which costs nothing, instead of a mask, which costs as much as the attention.

B recordings, N samples at 16 kHz, T frames, S states, F bands, H width, Q pooled layers side by side, K outputs.
"""

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.backbones import whisper
from sottovoce.backbones.base import Hidden, valid_steps
from sottovoce.config.frontend import Frontend
from sottovoce.data.frames import Statistics
from sottovoce.modeling.network import Recognised
from sottovoce.tracks import logmel
from sottovoce.tracks._slaney import mel_filters

DEAF = 1e4  # what a score of attention loses where a key is padding
ROOM = 800  # samples of padding behind all rows, so that the shortest makes a state


class LogMel(nn.Module):
    """(B, N) samples, lengths (B,) -> log-mel bands (B, T, F) and their counts (B,), as `tracks/logmel.py`."""

    def __init__(self, config: logmel.Config):
        super().__init__()
        at = np.arange(logmel.WINDOW)
        angles = 2 * np.pi / logmel.WINDOW * at * np.arange(logmel.WINDOW // 2 + 1)[:, None]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi / logmel.WINDOW * at)
        waves = np.concatenate([np.cos(angles), np.sin(angles)]) * hann  # (402, 400)
        self.register_buffer("waves", torch.from_numpy(waves[:, None].astype(np.float32)))
        self.register_buffer("filters", torch.from_numpy(mel_filters(config.bins, logmel.WINDOW)))
        self.peak = config.peak

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        last = (lengths - 1)[:, None]
        at = torch.arange(-logmel.WINDOW // 2, samples.shape[1] + logmel.WINDOW // 2)[None] % (2 * last).clamp(min=1)
        at = torch.where(at > last, 2 * last - at, at).clamp(min=0)  # mirrored at both ends, as often as it takes
        power = self._power(self._levelled(samples, lengths).gather(1, torch.minimum(at, last)))
        counts = (lengths // logmel.HOP).clamp(min=1)
        bands = (power @ self.filters).clamp(min=logmel.FLOOR).log10()
        loudest = bands.amax(2).masked_fill(~valid_steps(counts, bands.shape[1]), -math.inf).amax(1)
        return (torch.maximum(bands, loudest[:, None, None] - logmel.RANGE) + 4) / 4, counts

    def _levelled(self, samples: Tensor, lengths: Tensor) -> Tensor:
        if not self.peak:
            return samples
        peak = samples.abs().masked_fill(~valid_steps(lengths, samples.shape[1]), 0.0).amax(1)
        return samples * torch.where(peak > 0, self.peak / peak.clamp(min=1e-30), 1.0)[:, None]

    def _power(self, samples: Tensor) -> Tensor:
        """(B, T, 201)."""
        real, imaginary = nn.functional.conv1d(samples[:, None], self.waves, stride=logmel.HOP).chunk(2, dim=1)
        return (real.square() + imaginary.square()).transpose(1, 2)


def loud_bounds(bands: Tensor, counts: Tensor, trim_db: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 frame (B,) of what is not silence or noise at the ends, as `data/frames.py` has it."""
    energies = bands[:, :, bands.shape[2] * 3 // 80 : bands.shape[2] * 60 // 80] * (4 * math.log(10))
    valid, frames = valid_steps(counts, bands.shape[1]), bands.shape[1]
    energies = energies.masked_fill(~valid[..., None], -math.inf)
    power = (energies - energies.amax((1, 2), keepdim=True)).exp().sum(2)  # (B, T), 0 behind the end
    around = nn.functional.pad(power, (4, 4))
    sums = around[:, 0 : frames + 4]
    for k in range(1, 5):
        sums = sums + around[:, k : k + frames + 4]
    at = torch.arange(frames)[None]
    level = 10 * torch.log10(sums.gather(1, at + ((counts - 1) // 2).clamp(max=2)[:, None]) / 5 + 1e-30)
    order = level.masked_fill(~valid, math.inf).sort(1).values

    def percentile(share: float) -> Tensor:
        place = (counts - 1) * share
        low = place.floor().long()
        below, above = (order.gather(1, k[:, None])[:, 0] for k in (low, torch.minimum(low + 1, counts - 1)))
        return below + (above - below) * (place - low)

    top, noise = percentile(0.98), percentile(0.1)
    clear = torch.maximum(top - trim_db, noise + (0.35 * (top - noise)).clamp(max=12.0))
    loud = valid & (level >= torch.where(top - noise < trim_db + 10, clear, top - trim_db)[:, None])
    first = torch.where(loud, at, frames).amin(1) - 5
    last = torch.where(loud, at, -1).amax(1) + 6
    whole = (counts < 2) | (trim_db <= 0)
    return torch.where(whole, 0, first.clamp(min=0)), torch.where(whole, counts, torch.minimum(last, counts))


def cut(bands: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The frames first..last (B,) of every row, moved to its beginning; zero behind them: (B, T, F)."""
    at = (torch.arange(bands.shape[1])[None] + first[:, None]).clamp(max=bands.shape[1] - 1)
    moved = bands.gather(1, at[..., None].expand(-1, -1, bands.shape[2]))
    return moved.masked_fill(~valid_steps(last - first, bands.shape[1])[..., None], 0.0)


def steps_of(bands: Tensor, lengths: Tensor, frontend: Frontend, statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Frames (B, T, F) as the steps (B, S, D) that a backbone sees, and their lengths, as `data/dataset.py`."""
    valid = valid_steps(lengths, bands.shape[1])[..., None]
    if frontend.normalise == "utterance":
        mean = (bands * valid).sum(1, keepdim=True) / lengths[:, None, None]
        std = (((bands - mean) * valid).square().sum(1, keepdim=True) / lengths[:, None, None]).sqrt()
        bands = (bands - mean) / torch.where(std < 1e-6 * mean.abs().clamp(min=1e-3), 1.0, std)
    elif frontend.normalise == "corpus":
        bands = (bands - torch.from_numpy(statistics.mean)) / torch.from_numpy(statistics.std)
    if frontend.clip:
        bands = bands.clamp(-frontend.clip, frontend.clip)
    many = frontend.subsampling
    if many > 1:  # the last step is filled up with its last frame
        at = torch.arange((bands.shape[1] // many + 1) * many)[None]
        at = torch.minimum(at, lengths[:, None] - 1)[..., None].expand(-1, -1, bands.shape[2])
        blocks = bands.gather(1, at).unflatten(1, (-1, many))
        bands, lengths = blocks.flatten(2) if frontend.subsample == "stack" else blocks.mean(2), -(-lengths // many)
    return bands.masked_fill(~valid_steps(lengths, bands.shape[1])[..., None], 0.0), lengths


class Attention(nn.Module):
    """That of `backbones/whisper.py`; deaf (B, S) is added to the scores of its keys."""

    def __init__(self, of: whisper.Attention):
        super().__init__()
        self.of = of

    def forward(self, h: Tensor, deaf: Tensor) -> Tensor:
        size = h.shape[2] // self.of.heads
        q, k, v = (
            project(h).unflatten(2, (self.of.heads, -1)).transpose(1, 2)  # (B, heads, S, H / heads)
            for project in (self.of.q_proj, self.of.k_proj, self.of.v_proj)
        )
        q = torch.cat([q * size**-0.5, torch.ones_like(q[..., :1])], dim=3)
        k = torch.cat([k, deaf[:, None, :, None].expand(-1, self.of.heads, -1, -1)], dim=3)
        return self.of.out_proj(((q @ k.transpose(2, 3)).softmax(3) @ v).transpose(1, 2).flatten(2))


class Unfolded(nn.Module):
    """(B, T, C) -> gelu (B, S, O): a convolution as a product of matrices, which can be in int8."""

    def __init__(self, of: nn.Conv1d):
        super().__init__()
        self.stride, self.size = of.stride[0], of.kernel_size[0]
        self.product = nn.Linear(of.in_channels * self.size, of.out_channels)
        self.product.weight, self.product.bias = nn.Parameter(of.weight.transpose(1, 2).flatten(1)), of.bias

    def gelu(self, x: Tensor) -> Tensor:
        last = x.shape[1] - self.size + 1
        near = torch.cat([x[:, k : last + k : self.stride] for k in range(self.size)], dim=2)
        return nn.functional.gelu(self.product(near))


class Whisper(nn.Module):
    """`backbones/whisper.py` for recordings that fit its positions."""

    def __init__(self, of: whisper.Backbone):
        super().__init__()
        self.of = of
        of.front["conv2"] = Unfolded(of.front["conv2"])
        for block in of.blocks:
            block.self_attn = Attention(block.self_attn)

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        local, lengths = self.of.convolve(x, lengths)
        at = torch.arange(local.shape[1]).clamp(max=self.of.config.positions - 1)  # a few more may be there, of padding
        layers = [local + self.of.positions[at].to(local)]
        deaf = -DEAF * (~valid_steps(lengths, local.shape[1])).float()
        for block in self.of.blocks:
            layers.append(block(layers[-1], deaf))
        if self.of.norm is not None and len(layers) == 1 + self.of.config.layers:
            layers[-1] = self.of.norm(layers[-1])
        return self.of.told(layers, lengths)


class Exportable(nn.Module):
    """One recogniser: what it hears as samples, and what it says of states that were pooled elsewhere.

    Args of `forward`:
        samples: (B, N) at 16 kHz, no more than the encoder has positions for (of Whisper 30 s).
        lengths: (B,) how many samples of each row are its own; what is behind them changes nothing.
        trim_db: (1,) what lies this far below the loudest at the ends is cut off; 0 = nothing is.
        pooled: (M, P) pooled states.

    Returns:
        answer (B, K), calibrated; states (B, S, Q) that are pooled and how much each counts, counts (B,) of them,
        begins (B,) frame of the first one; judged (M, K) answers to `pooled`, not calibrated, as means are made of
        them, and an intensity behind them where the model tells one; unlike (M,) mean square of what was
        standardised, 1 in training.
    """

    INPUTS = ("samples", "lengths", "trim_db", "pooled")
    OUTPUTS = ("answer", "states", "counts", "begins", "judged", "unlike")

    def __init__(self, it: Recognised):
        super().__init__()
        network = copy.deepcopy(it.network).eval()
        assert isinstance(it.plan.track_config, logmel.Config)
        self.bands, self.frontend, self.statistics = LogMel(it.plan.track_config), it.plan.frontend, it.statistics
        self.backbone = (
            Whisper(network.backbone) if isinstance(network.backbone, whisper.Backbone) else network.backbone
        )
        self.pooling, self.standardise, self.out = network.pooling, network.standardise, network.out
        self.task, self.temperature, self.intensity = it.task, it.calibration.temperature, it.intensity

    def forward(self, samples: Tensor, lengths: Tensor, trim_db: Tensor, pooled: Tensor) -> tuple[Tensor, ...]:
        bands, counts = self.bands(nn.functional.pad(samples, (0, ROOM)), lengths)
        first, last = loud_bounds(bands, counts, trim_db)
        hidden = self.backbone(*steps_of(cut(bands, first, last), last - first, self.frontend, self.statistics))
        layers, counted = self.pooling.mixed(hidden), self.pooling.counts(hidden)
        answer = self._judged(self.standardise(self.pooling.pooled(layers, counted)), self.temperature)
        given = self.standardise(pooled)
        states = torch.cat([*layers, counted.to(layers[0])[..., None]], dim=2)
        judged = self._judged(given)
        if self.intensity is not None:
            judged = torch.cat([judged, self.intensity(given).sigmoid()], dim=1)
        return answer, states, hidden.lengths, first, judged, given.square().mean(1)

    def _judged(self, pooled: Tensor, temperature: float = 1.0) -> Tensor:
        out = self.out(pooled)
        if self.task.kind == "class":
            return (out / temperature).softmax(1)
        low, high = torch.tensor(self.task.ranges).T
        return torch.minimum(torch.maximum(out, low), high)
