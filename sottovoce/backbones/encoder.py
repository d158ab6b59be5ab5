"""HuBERT, WavLM, wav2vec 2.0 and data2vec-audio: a waveform through convolutions, then a Transformer.

arXiv:2106.07447, arXiv:2110.13900, arXiv:2006.11477, arXiv:2202.03555. Sizes "base" and "large" are theirs, "small",
"tiny" and "toy" ours. The layers are those of the `transformers` library, so that every checkpoint of these families
fits; the way through them is ours, because there padding changes the result: the first convolution is normalised over
time, padding included. Here it is normalised over each row's own length, and so is the waveform where a checkpoint
wants that. Departures: no layer drop; one dropout rate for hidden states and activations; where blocks normalise their
input ("large"), the last state is the normalised one.

B utterances, N samples at 16 kHz, S states (50 a second, of "tiny" 25), C channels of the last convolution, H width.
"""

import math
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sottovoce.backbones import base
from sottovoce.backbones._products import quicken
from sottovoce.backbones.base import Hidden, Traits, valid_steps
from sottovoce.config.ranges import Settings, ShareBelow1
from sottovoce.errors import InputError, needs

RATE_HZ = 16_000
PIECE = 20 * RATE_HZ  # samples of a long recording that frozen convolutions see at a time: memory does not grow with it
Family = Literal["hubert", "wavlm", "wav2vec2", "data2vec-audio"]  # `model_type` in the library's words
FAMILIES = get_args(Family)


def _size(width: int, layers: int, heads: int, channels: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "conv_dim": (channels,) * 7,
    } | more


SIZES = {
    "toy": _size(32, 2, 2, 16),  # 0.04 M parameters, for tests
    # 1.1 M. 25 states a second instead of 50, positions 32 wide (1.3 s), three convolutions instead of seven: the first
    # one spans 20 ms and begins as a filter bank, so that an hour or two of speech teach it in minutes of a CPU.
    "tiny": _size(
        128,
        4,
        4,
        128,
        conv_dim=(128, 128, 128),
        conv_kernel=(320, 8, 4),
        conv_stride=(32, 5, 4),
        num_conv_pos_embeddings=32,
    ),
    "small": _size(256, 4, 4, 128),  # 4 M; with 512 channels it would cost four times as much
    "base": _size(768, 12, 12, 512),  # 95 M
    "large": _size(1024, 24, 16, 512, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True),  # 317 M
}


@dataclass(frozen=True)
class Config(Settings, group="backbone"):
    family: Family = "hubert"  # whose architecture
    size: Literal["toy", "tiny", "small", "base", "large"] = "small"  # 0.04, 1.1, 4, 95, 317 M parameters
    # What differs from that size, in the words of the library's configuration; of a checkpoint, all that counts.
    architecture: dict[str, int | float | bool | tuple[int, ...] | str] = field(default_factory=dict)
    normalise: bool = False  # every waveform to mean 0 and deviation 1 first
    dropout: ShareBelow1 = 0.1  # of hidden states and activations
    attention_dropout: ShareBelow1 = 0.0  # costs more than the attention on a CPU
    checkpointing: bool = False  # blocks are computed again in the backward pass: less memory, a third more time

    @property
    def width(self) -> int:
        """H."""
        return self.resolved().hidden_size

    @property
    def layers(self) -> int:
        """Blocks."""
        return self.resolved().num_hidden_layers

    def resolved(self) -> Any:
        """The library's configuration. Raises InputError when transformers is missing or refuses a value."""
        auto = library().AutoConfig
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in self.architecture.items()}
        dropouts = {"hidden_dropout": self.dropout, "activation_dropout": self.dropout}
        others = {"attention_dropout": self.attention_dropout, "feat_proj_dropout": 0.0, "mask_time_prob": 0.05}
        try:
            return auto.for_model(self.family, **(SIZES[self.size] | fields | dropouts | others))
        except Exception as error:  # the library validates with exceptions of several kinds
            raise InputError(f"backbone.architecture: {' '.join(str(error).split())}") from None


def library() -> Any:
    """The `transformers` package. Raises InputError when it is not installed."""
    with needs(
        "backbone encoder: needs the transformers library. Found none. Install it: pip install 'sottovoce[hf]'."
    ):
        import transformers
    return transformers


class Backbone(base.Encoder):
    """forward(x (B, N, 1), lengths (B,)) -> Hidden with 1 + layers states of (B, S, H).

    Args:
        features: of a step; a waveform has one.
        model: the library's, with weights; None makes random ones.

    Raises:
        InputError: other features than a waveform's, transformers is missing, or an architecture it refuses.
    """

    def __init__(self, config: Config, features: int, model: Any = None):
        super().__init__()
        if features != 1:
            raise InputError(
                f"backbone encoder: reads a waveform, one value a sample. Found {features} features. Use --track wave."
            )
        if model is None:
            model = library().AutoModel.from_config(config.resolved())
            init_bandpass(model.feature_extractor.conv_layers[0].conv)
        quicken(model)
        c, encoder = model.config, model.encoder
        self.config, self.features, self.dim = config, features, c.hidden_size
        self.kernels, self.strides = tuple(c.conv_kernel), tuple(c.conv_stride)
        self.traits = Traits(self.stride, self.window, masks_states=True, adapters=("q_proj", "v_proj"))
        self.front, self.project = model.feature_extractor.conv_layers, model.feature_projection
        # Learned vector in place of what is masked; a checkpoint brings its own.
        self.mask_vector = model.masked_spec_embed
        self.positions, self.drop, self.blocks = encoder.pos_conv_embed, encoder.dropout, encoder.layers
        stable = type(encoder).__name__.endswith("StableLayerNorm")  # blocks normalise their input, not their output
        self.norm_first = None if stable else encoder.layer_norm
        self.norm = encoder.layer_norm if stable else None  # after the last block; none of what is cut before it
        self.depth = len(encoder.layers)
        for block in self.blocks:
            if config.family == "wavlm":
                block.attention.torch_multi_head_self_attention = MethodType(_attend, block.attention)
            else:
                c._attn_implementation = "sdpa"

    @property
    def stride(self) -> int:
        """Samples from one state to the next: 320, 20 ms; of "tiny" 640."""
        return math.prod(self.strides)

    @property
    def window(self) -> int:
        """Samples in a local feature: 400, 25 ms; of "tiny" 1,024."""
        return 1 + sum((k - 1) * math.prod(self.strides[:i]) for i, k in enumerate(self.kernels))

    def convolve(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, N, 1) -> local features (B, S, C), zero after their lengths (B,)."""
        wave = x[..., 0]
        inside = valid_steps(lengths, wave.shape[1])
        wave = wave.masked_fill(~inside, 0.0)
        if self.config.normalise:
            wave = (wave - wave.sum(1, keepdim=True) / lengths[:, None]).masked_fill(~inside, 0.0)
            wave = wave / (wave.square().sum(1, keepdim=True) / lengths[:, None] + 1e-7).sqrt()  # as in the library
        # Shorter ones than a window are filled up with zeros and make one state.
        wave = nn.functional.pad(wave, (0, max(self.window - wave.shape[1], 0)))
        h, n = wave[:, None], lengths.clamp(min=self.window)  # (B, 1, N)
        if wave.shape[1] > PIECE and not _learns(self.front):
            with torch.no_grad():
                rows = [self._in_pieces(row[:samples]) for row, samples in zip(wave, n.tolist(), strict=True)]
            return nn.utils.rnn.pad_sequence(rows, batch_first=True), (n - self.window) // self.stride + 1
        for layer, kernel, stride in zip(self.front, self.kernels, self.strides, strict=True):
            h, n = layer.conv(h), (n - kernel) // stride + 1
            norm = _norm(layer)
            if isinstance(norm, nn.GroupNorm):
                h = _normalise_rows(norm, h, n)
            elif norm is not None:
                h = norm(h.transpose(1, 2)).transpose(1, 2)
            h = layer.activation(h)
        h = h.transpose(1, 2)
        return h.masked_fill(~valid_steps(n, h.shape[1])[..., None], 0.0), n

    def _in_pieces(self, wave: Tensor) -> Tensor:
        """The same for one waveform (N,), some states at a time: (S, C)."""
        layers = [(f.conv.weight, f.conv.bias, _norm(f), f.activation) for f in self.front]
        if isinstance(layers[0][2], nn.GroupNorm):
            layers[0] = *_folded(self.front[0].conv, layers[0][2], wave), None, layers[0][3]
        pieces, count, some = [], (len(wave) - self.window) // self.stride + 1, max(PIECE // self.stride, 1)
        for s in range(0, count, some):
            end = (min(s + some, count) - 1) * self.stride + self.window
            h = wave[None, s * self.stride : end]
            for (weight, bias, norm, activation), stride in zip(layers, self.strides, strict=True):
                h = nn.functional.conv1d(h, weight, bias, stride)
                h = activation(h if norm is None else norm(h.T).T)
            pieces.append(h.T)
        return torch.cat(pieces)

    def contextualise(
        self,
        local: Tensor,
        lengths: Tensor,
        mask: Tensor | None = None,
        columns: Tensor | None = None,
        upto: int | None = None,
    ) -> Hidden:
        """Local features (B, S, C) -> Hidden."""
        h = self.project(local)
        h = h[0] if isinstance(h, tuple) else h  # HuBERT's projection returns one tensor, the others' two
        h = self.masked(h, mask, columns)
        valid = valid_steps(lengths, h.shape[1])
        h = h.masked_fill(~valid[..., None], 0.0)
        h = h + self._place(h, valid)
        h = self.drop(h if self.norm_first is None else self.norm_first(h))
        # A full batch needs no mask, and attention without one is faster.
        more: dict[str, Any] = {"attention_mask": None if bool(valid.all()) else valid[:, None, None, :]}
        if self.config.family == "wavlm":  # where one state lies from another
            bias = self.blocks[0].attention.compute_bias(h.shape[1], h.shape[1])  # (heads, S, S)
            more["position_bias"] = bias.repeat(len(h), 1, 1)
        layers = [h]
        for block in self.blocks[:upto]:
            if self.config.checkpointing and self.training and torch.is_grad_enabled():
                out = checkpoint(block, layers[-1], use_reentrant=False, **more)
            else:
                out = block(layers[-1], **more)
            layers.append(out[0] if isinstance(out, tuple) else out)
        if self.norm is not None and len(layers) == 1 + self.depth:
            layers[-1] = self.norm(layers[-1])
        return Hidden(layers, lengths)

    def _place(self, h: Tensor, valid: Tensor) -> Tensor:
        """Convolutional positions (B, S, H); padding stays zero between the layers of data2vec's."""
        if self.config.family != "data2vec-audio":
            return self.positions(h)
        h, outside = h.transpose(1, 2), ~valid[:, None]
        for layer in self.positions.layers:
            h = layer(h).masked_fill(outside, 0.0)
        return h.transpose(1, 2)


def init_bandpass(conv: nn.Conv1d, low_hz: float = 60.0, high_hz: float = 7600.0) -> None:
    """Band-pass filters, mel-spaced, of random phase, as the weights (C, 1, K) of a convolution of the waveform that is
    long enough for a pitch (10 ms); a shorter one stays as it is. They are learned from there."""
    samples = conv.kernel_size[0]
    if samples < RATE_HZ // 100:
        return
    low, high = (1127 * math.log1p(hz / 700) for hz in (low_hz, high_hz))
    edges = 700 * torch.expm1(torch.linspace(low, high, len(conv.weight) + 2) / 1127)
    centre, width = edges[1:-1, None], (edges[2:] - edges[:-2])[:, None] / 2  # Hz
    seconds = (torch.arange(samples) - (samples - 1) / 2) / RATE_HZ
    # Of that width at half its height, but over before the kernel ends.
    deviation = (0.4 / width).clamp(max=samples / RATE_HZ / 5)
    phase = 2 * math.pi * torch.rand(len(centre), 1)
    filters = (-0.5 * (seconds / deviation).square()).exp() * (2 * math.pi * centre * seconds + phase).cos()
    with torch.no_grad():
        conv.weight.copy_(nn.functional.normalize(filters, dim=1)[:, None])


def _learns(module: nn.Module) -> bool:
    return torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters())


def _norm(layer: nn.Module) -> nn.Module | None:
    """Of a convolution of the library; most have none."""
    return dict(layer.named_children()).get("layer_norm")


def _normalise_rows(norm: nn.GroupNorm, h: Tensor, lengths: Tensor) -> Tensor:
    """Group norm (B, C, T) of every row over its own length; what is after it becomes 0."""
    frames = h.shape[2]
    if bool((lengths == frames).all()):
        return norm(h)
    rows = [norm(row[None, :, :n]) for row, n in zip(h, lengths.tolist(), strict=True)]
    return torch.cat([nn.functional.pad(row, (0, frames - row.shape[2])) for row in rows])


def _folded(conv: nn.Conv1d, norm: nn.GroupNorm, wave: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C, 1, K) and bias (C,) of a convolution of one waveform (N,) with the norm behind it inside.

    The norm wants mean and variance over time of every channel. They follow from mean m and covariance V of the K
    samples the convolution looks at: w m and w V w. So nothing has to be computed twice or stored.
    """
    seen = wave.double().unfold(0, conv.kernel_size[0], conv.stride[0])  # (T, K), a view
    mean = seen.mean(0)
    covariance = (seen - mean).T @ (seen - mean) / len(seen)
    weight = conv.weight[:, 0].double()
    scale = norm.weight * ((weight @ covariance * weight).sum(1) + norm.eps).rsqrt()
    return (weight * scale[:, None])[:, None].to(wave), (norm.bias - scale * (weight @ mean)).to(wave)


def _attend(self: Any, hidden: Tensor, mask: Tensor | None, bias: Tensor) -> tuple[Tensor, None]:
    """WavLM's attention by PyTorch's fused one: faster, and its projections can be adapted (LoRA).

    Args:
        hidden: (B, S, H).
        mask: (B, 1, 1, S) bool, True = may be attended to.
        bias: (B * heads, S, S), added to the scores.
    """
    batch, steps, width = hidden.shape
    bias = bias.view(batch, self.num_heads, steps, steps)
    if mask is not None:
        bias = bias.masked_fill(~mask, -torch.inf)
    q, k, v = (
        project(hidden).view(batch, steps, self.num_heads, -1).transpose(1, 2)
        for project in (self.q_proj, self.k_proj, self.v_proj)
    )
    drop = self.dropout if self.training else 0.0
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q), dropout_p=drop)
    return self.out_proj(mixed.transpose(1, 2).reshape(batch, steps, width)), None
