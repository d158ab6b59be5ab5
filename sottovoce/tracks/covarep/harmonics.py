"""All that is read from the harmonics of a voice, frame by frame in bounded memory: Rd, MCEP and HMPD.

The three share one sinusoidal analysis (`sinusoids.py`), which lives only as long as its piece of the recording.
"""

from collections.abc import Iterator

import numpy as np

from sottovoce.files import scratch
from sottovoce.tracks.covarep import cepstrum, phase
from sottovoce.tracks.covarep.conventions import RATE_HZ, chunks, interpolate
from sottovoce.tracks.covarep.pitch import Pitch
from sottovoce.tracks.covarep.rd import rd
from sottovoce.tracks.covarep.sinusoids import count_harmonics, fits, sinusoids

DIM = 2 + (1 + cepstrum.ORDER) + phase.BANDS + (1 + phase.ORDER)
CHUNK = 128  # frames analysed together
SILENT_HZ = 20.0  # below, a frame has thousands of harmonics: such frames go by themselves


def columns(samples: np.ndarray, pitch: Pitch, at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rd, Rd_conf, MCEP_0..24, HMPDM_0..24 and HMPDD_0..12 of a whole recording.

    Args:
        samples: (N,) at 16 kHz, the right way up (`polarity`).
        pitch: of `pitch.srh`; frames whose three periods reach beyond the recording are left out.
        at: (T,) sample numbers counted from 1.
        rng: for the phases that are random by design, see `phase.py`.

    Returns:
        (T, 65) float64; NaN where a column is not defined.
    """
    kept = fits(pitch.position, pitch.f0_hz, len(samples))
    position, f0 = pitch.position[kept], pitch.f0_hz[kept]
    widths = (2, 1 + cepstrum.ORDER, phase.BANDS, 1 + phase.ORDER)
    source, envelope, mean, deviation = (scratch(len(f0) * width).reshape(-1, width) for width in widths)

    def distortions() -> Iterator[np.ndarray]:
        richest = int(count_harmonics(f0).max(initial=0))
        for part in chunks(len(f0), CHUNK):
            noise = phase.draw(rng, part.stop - part.start)
            piece = np.empty_like(noise)
            silent = f0[part] < SILENT_HZ
            for rows in (np.flatnonzero(silent), np.flatnonzero(~silent)):
                if len(rows) == 0:
                    continue
                sines = sinusoids(samples, position[part][rows], f0[part][rows])
                source[part.start + rows] = rd(sines)
                envelope[part.start + rows] = cepstrum.mcep(sines.log_magnitude, sines.f0_hz)
                piece[rows] = phase.distortion(sines, richest, noise[rows])
            yield piece

    done = 0
    for means, deviations in phase.smooth(distortions()):
        mean[done : done + len(means)], deviation[done : done + len(means)] = means, deviations
        done += len(means)
    out = scratch(len(at) * DIM).reshape(-1, DIM)
    for part in chunks(len(at)):
        rows = [
            interpolate(at[part], position, source),
            cepstrum.columns(envelope, len(samples), at[part]),
            phase.columns(position / RATE_HZ, mean, deviation, (at[part] - 1) / RATE_HZ),
        ]
        out[part] = np.hstack(rows)
    return out
