"""LP residual: what linear prediction cannot explain, close to the excitation of the vocal tract.

Makhoul, "Linear prediction: a tutorial review", Proc. IEEE 63(4), 1975; with the overlap-add of the closure-instant
and pitch papers that build on it (Drugman & Dutoit, Interspeech 2009; Drugman & Alwan, Interspeech 2011). Every frame
is windowed, whitened by its own inverse filter, brought back to its energy and added to its neighbours.
"""

import numpy as np

from sottovoce.files import scratch
from sottovoce.tracks.covarep.conventions import BLOCK, chunks, fir, frames, hanning, lpc

FRAME, STEP = 400, 80  # samples: 25 ms every 5 ms (a frame has one more sample than its name says)


def lp_residual(samples: np.ndarray, order: int, *, predict: np.ndarray | None = None) -> np.ndarray:
    """Excitation signal, largest magnitude 1.

    Args:
        samples: (N,) float64.
        order: p of the prediction: 12 for pitch, 18 for everything else.
        predict: (N,) the signal whose frames give the inverse filters; None takes `samples`. Polarity whitens the
            plain signal with filters of a high-passed one.

    Returns:
        (N,) float64. NaN wherever a frame of zeros (digital silence) reaches; callers replace it as they need.
        At most the last STEP samples are in no frame and stay 0, as a signal without a whole frame does.
    """
    length = FRAME + 1
    count = max(-(-(len(samples) - length) // STEP), 0)  # frames with start + L < N, starts counted from 1
    touched = -(-length // STEP)  # steps that a frame reaches over
    whole = scratch(max(len(samples), (count + touched) * STEP))
    steps = whole[: (count + touched) * STEP].reshape(-1, STEP)
    window = hanning(length)
    for part in chunks(count):
        starts = np.arange(part.start, part.stop) * STEP
        plain = frames(samples, starts, length) * window
        seen = plain if predict is None else frames(predict, starts, length) * window
        error = fir(plain, lpc(seen, order))
        with np.errstate(invalid="ignore", divide="ignore"):
            error *= np.sqrt((plain**2).sum(-1) / (error**2).sum(-1))[:, None]
        padded = np.pad(error, ((0, 0), (0, touched * STEP - length)))
        for k, piece in enumerate(np.split(padded, touched, axis=1)):  # (F, STEP)
            steps[part.start + k : part.stop + k] += piece
    residual = whole[: len(samples)]
    peak = max((np.nanmax(np.abs(residual[part]), initial=0.0) for part in chunks(len(residual), BLOCK)), default=0.0)
    for part in chunks(len(residual), BLOCK):
        residual[part] /= peak or 1.0
    return residual
