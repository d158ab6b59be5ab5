"""Convolutions as a CPU does them fast: as matrix products over rows (T, C), one a state, C values that lie together.

    strided       every S-th output of a short kernel: output t reads the rows from t S on, and S rows that follow one
                  another are one row S times as wide. So S taps are one matrix product with a view of the input, and
                  a kernel of K taps is K / S of them. Nothing is copied.
    long_grouped  a long kernel over few channels (HuBERT's positions: 128 taps, 16 groups) by overlapping Fourier
                  transforms: a product at every frequency instead of every tap, a thirtieth of the work.

The sums are those of `torch.nn.functional.conv1d` in another order, so results differ by rounding alone.

T rows, C channels in or out, K taps, S stride, G groups of D channels, F frequencies.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LONG = 64  # taps from which transforms are faster


class Kept:
    """What was last made of some weights; made again when they have changed, which a copy of them tells."""

    def __init__(self) -> None:
        self.last: tuple[list[Tensor], Any] = [], None  # replaced at once, as several threads may ask

    def __call__(self, make: Callable[[], Any], weights: Sequence[Tensor]) -> Any:
        seen, made = self.last
        if len(seen) != len(weights) or not all(map(torch.equal, seen, weights)):
            with torch.inference_mode(False), torch.no_grad():
                made = make()
                self.last = [w.detach().clone() for w in weights], made
        return made


def taps(weight: Tensor, stride: int) -> list[Tensor]:
    """Weights (C out, C in, K) of a strided convolution as `strided` wants them: each (taps at once * C in, C out)."""
    kernel = weight.permute(2, 1, 0)
    # Rows of one channel overlap; copying them costs less than a second product.
    at_once = stride if weight.shape[1] > 1 else len(kernel)
    return [kernel[k : k + at_once].flatten(0, 1).contiguous() for k in range(0, len(kernel), at_once)]


def strided(x: Tensor, taps: list[Tensor], stride: int, bias: Tensor | None = None) -> Tensor:
    """(T in, C in) contiguous -> (T out, C out), where every output sees all its taps."""
    channels = x.shape[1]
    rows = (len(x) - sum(map(len, taps)) // channels) // stride + 1
    out, first = None, 0
    for weight in taps:
        seen = x[first:].as_strided((rows, len(weight)), (stride * channels, 1))
        if out is not None:
            out.addmm_(seen, weight)
        else:
            out = torch.mm(seen, weight) if bias is None else torch.addmm(bias, seen, weight)
        first += len(weight) // channels
    assert out is not None
    return out


def spectrum(weight: Tensor, groups: int) -> Tensor:
    """Weights (C, D, K) of a grouped convolution at every frequency of 2 K steps: (F, G, D in, D out)."""
    channels, width, kernel = weight.shape
    found = torch.fft.rfft(weight, n=2 * kernel).conj()  # it correlates
    return found.view(groups, channels // groups, width, -1).permute(3, 0, 2, 1).contiguous()


def long_grouped(x: Tensor, spectrum: Tensor, padding: int) -> Tensor:
    """(B, T, C) -> (B, T + 2 padding - K + 1, C): blocks of 2 K steps, each with K + 1 outputs."""
    (batch, steps, _), (frequencies, groups, width, out) = x.shape, spectrum.shape
    kernel = frequencies - 1
    step, count = kernel + 1, steps + 2 * padding - kernel + 1
    blocks = -(-count // step)
    x = functional.pad(x.transpose(1, 2), (padding, blocks * step + kernel - 1 - steps - padding))
    seen = torch.fft.rfft(x.unfold(2, 2 * kernel, step))  # (B, C, blocks, F)
    seen = seen.view(batch, groups, width, blocks, frequencies).permute(4, 1, 0, 3, 2)
    found = torch.bmm(seen.reshape(frequencies * groups, batch * blocks, width), spectrum.flatten(0, 1))
    found = found.view(frequencies, groups, batch, blocks, out).permute(2, 3, 1, 4, 0)
    y = torch.fft.irfft(found, n=2 * kernel)[..., :step]  # (B, blocks, G, D out, K + 1)
    return y.permute(0, 1, 4, 2, 3).reshape(batch, blocks * step, groups * out)[:, :count]
