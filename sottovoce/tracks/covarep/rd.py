"""Rd: the shape of the glottal pulse in one number, tense (0.3) to breathy (2.5), and how far to trust it.

Degottex, Roebel & Rodet, "Phase minimization for glottal model estimation", IEEE TASLP 19(5), 2011, the criterion on
second phase differences (MSPD2); the pulse is that of Fant, Liljencrants & Lin, "A four-parameter model of glottal
flow", STL-QPSR 4/1985, steered by one number as in Fant, "The LF-model revisited", STL-QPSR 2-3/1995. Divide the
harmonics by the pulse of a candidate Rd and by the minimum phase of what is left (the vocal tract): with the right
candidate, nothing but a linear phase remains.

Two facts make it fast. In units of the period the pulse depends on Rd alone. And the minimum phase at the first few
harmonics is linear in the log amplitudes, so that it is one matrix (the discrete Hilbert transform) for all candidates.

Kept from the original: the harmonics are divided by the conjugate of the pulse's spectrum, and the search stops at
0.01, so its very sequence (Brent, "Algorithms for minimization without derivatives", 1973, ch. 5) matters.

F frames, K the richest frame's harmonics.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from sottovoce.tracks.covarep.conventions import RATE_HZ, chunks, wrap
from sottovoce.tracks.covarep.sinusoids import Sinusoids

LOW, HIGH = 0.3, 2.5  # Rd searched
TOLERANCE, STEPS = 0.01, 32  # of the search
GOLDEN = (3 - np.sqrt(5)) / 2  # share of a bracket at which its search begins
FIRST = 8  # harmonics whose phases count
BATCH = 1 << 14  # harmonics of the frames that are searched together, so that they stay in the cache of a core
FEWEST = 16  # frames, where each has thousands: next to silence F0 is 1 Hz


def rd(sines: Sinusoids) -> np.ndarray:
    """(F, 2): Rd, and confidence 1 - (root mean square of the phase that is left) / pi.

    A row does not depend on the others. Where an amplitude is 0 the confidence is NaN, and Rd where the search begins.

    Raises ValueError: a frame has less than 9 harmonics below 8 kHz (F0 above 840 Hz).
    """
    if sines.harmonics.min(initial=FIRST + 1) <= FIRST:
        raise ValueError(f"Rd needs more than {FIRST} harmonics below {RATE_HZ // 2} Hz, found {sines.harmonics.min()}")
    below = np.floor(RATE_HZ / 2 / sines.spacing_hz).astype(np.int64)  # peaks may lie further apart than F0
    count = np.clip(sines.harmonics, FIRST + 1, np.maximum(below, FIRST + 1))
    out = np.full((len(count), 2), np.nan)
    fitted = (sines.amplitude[:, 1:] > 0).all(axis=1)
    out[~fitted, 0] = LOW + GOLDEN * (HIGH - LOW)  # where a search without data stays
    order = np.flatnonzero(fitted)
    order = order[np.argsort(count[order], kind="stable")]  # frames with as many harmonics together
    for part in chunks(len(order), max(FEWEST, BATCH // int(count.max(initial=1)))):
        rows = order[part]
        out[rows] = _search(sines.amplitude[rows], sines.phase[rows], count[rows])
    return out


def _search(amplitude: np.ndarray, phase: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(F, 2) from the frames' harmonics (F, 1 + K) and how many of them are used (F,)."""
    most = int(count.max())
    numbers = np.unique(count)
    hilbert = np.zeros((len(count) if len(numbers) > 1 else 1, most, FIRST))  # one for all where that will do
    for number in numbers:
        hilbert[count == number if len(hilbert) > 1 else 0, :number] = _minimum_phase(int(number))
    tract = phase[:, 1 : FIRST + 1] - _apply(hilbert, np.log(amplitude[:, 1 : most + 1]))

    def cost(shape: np.ndarray, rows: np.ndarray) -> np.ndarray:
        different, which = np.unique(shape, return_inverse=True)  # the first two steps are the same in every frame
        pulse = lf_spectrum(different, most)
        level = np.log(pulse.real**2 + pulse.imag**2) / 2
        own = hilbert if len(hilbert) == 1 else hilbert[rows]
        left = tract[rows] + np.angle(pulse[:, :FIRST])[which] + _apply(own, level[which])
        second = wrap(np.diff(left, axis=1) - left[:, :1])
        return np.mean(second**2, axis=1)

    best, value = minimise(cost, LOW, HIGH, len(count), TOLERANCE, STEPS)
    return np.stack([best, 1 - np.sqrt(value) / np.pi], axis=1)


def _apply(matrices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(F, FIRST) of rows (F, K) by their matrices (F, K, FIRST), or all by the same (1, K, FIRST)."""
    return (rows[:, None, :] @ matrices)[:, 0]  # row by row, so that no bit of one hangs on its neighbours


@lru_cache(maxsize=512)
def _minimum_phase(count: int) -> np.ndarray:
    """(count, FIRST): log amplitudes of harmonics 1 .. count to the minimum phase of harmonics 1 .. FIRST.

    The amplitudes at DC and at the last harmonic are taken from their neighbours, and the spectrum made symmetric,
    2 count points in all. The sum over quefrencies of sin(pi j n / count) cos(pi k n / count) is a cotangent.
    """
    j, k = np.arange(1, FIRST + 1), np.arange(count + 1)[:, None]
    odd = (j + k) % 2 == 1
    cotangents = [1 / np.tan(np.where(odd, np.pi * m / (2 * count), 1.0)) for m in (j + k, j - k)]
    full = np.where(odd, -sum(cotangents) / count, 0.0)  # (1 + count, FIRST)
    full[1] += full[0] / 2
    full[count - 1] += full[count] / 2
    full[count] = 0
    return full[1:]


def lf_shape(rd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Instants of the pulse in units of the period: maximum flow, main excitation, length of the return phase.

    Fant 1995, eqs. for Ra, Rk and Rg from Rd.

    Args:
        rd: (F,) between 0.3 and 2.5.
    """
    ra, rk = (-1 + 4.8 * rd) / 100, (22.4 + 11.8 * rd) / 100
    rg = rk / 4 / (0.11 * rd / (0.5 + 1.2 * rk) - ra)
    peak = 1 / (2 * rg)
    return peak, peak * (1 + rk), ra


def lf_constants(rd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decay epsilon of the return phase and growth alpha of the open phase, per period, for Rd (F,).

    epsilon solves 1 - exp(-epsilon (1 - te)) = epsilon ta, alpha makes the net area zero; both by Newton's method,
    to machine precision.
    """
    peak, te, ta = lf_shape(rd)
    closed = 1 - te
    epsilon = 1 / ta
    for _ in range(7):  # quadratic, monotone from the right
        decay = np.exp(-epsilon * closed)
        epsilon -= (1 - decay - epsilon * ta) / (closed * decay - ta)
    decay = np.exp(-epsilon * closed)
    returned = -((1 - decay) / epsilon - closed * decay) / (epsilon * ta)  # area of the return phase
    omega = np.pi / peak
    sine, cosine = np.sin(omega * te), np.cos(omega * te)
    alpha = 3 / rd
    for _ in range(7):
        grown = omega / sine * np.exp(-alpha * te)
        excess = alpha - omega * cosine / sine + grown - returned * (alpha**2 + omega**2)
        alpha -= excess / (1 - te * grown - 2 * returned * alpha)
    return epsilon, alpha


def lf_spectrum(rd: np.ndarray, count: int) -> np.ndarray:
    """(F, count) complex: harmonics 1 .. count of the flow derivative with excitation -1, periods as unit of time.

    Closed form of the Fourier transform; the pulse begins at time 0.
    """
    peak, te, ta = (values[:, None] for values in lf_shape(rd))
    epsilon, alpha = (values[:, None] for values in lf_constants(rd))
    omega, closed = np.pi / peak, 1 - te
    sine, cosine = np.sin(omega * te), np.cos(omega * te)
    s = 2j * np.pi * np.arange(1, count + 1)
    turn = _turns(te, count)  # exp(-s te), the delay to the main excitation
    opened = alpha - s
    open_phase = turn * (opened - omega * cosine / sine) + omega / sine * np.exp(-alpha * te)
    open_phase = -open_phase / (opened**2 + omega**2)
    decay = np.exp(-epsilon * closed)
    # exp(-s) is 1 at a harmonic, so exp(-s (1 - te)) is 1 / turn
    return_phase = (turn - decay) / (epsilon + s) - decay * (turn - 1) / s
    return open_phase - return_phase / (epsilon * ta)


def _turns(te: np.ndarray, count: int, block: int = 32) -> np.ndarray:
    """(F, count) complex: exp(-2j pi k te) for k = 1 .. count and te (F, 1), most of them as products of two others."""
    fine = np.exp(-2j * np.pi * te * np.arange(1, block + 1))
    coarse = np.exp(-2j * np.pi * te * np.arange(0, count, block))
    return (coarse[:, :, None] * fine[:, None, :]).reshape(len(te), -1)[:, :count]


def minimise(
    cost: Callable[[np.ndarray, np.ndarray], np.ndarray],
    low: float,
    high: float,
    rows: int,
    tolerance: float,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Brent's bounded search for many functions at once, each taking its own way.

    Args:
        cost: cost(x (R,), indices of the rows (R,)) -> (R,).
        rows: F, how many functions.
        tolerance: on x.
        steps: evaluations a row at most.

    Returns:
        where the least value was found (F,), and that value (F,).
    """
    a, b = np.full(rows, low), np.full(rows, high)
    x = a + GOLDEN * (b - a)  # best so far
    fx = cost(x, np.arange(rows))
    w, v, fw, fv = x.copy(), x.copy(), fx.copy(), fx.copy()  # second best, and the one before
    last, before = np.zeros(rows), np.zeros(rows)  # steps taken
    for _ in range(steps - 1):
        near = np.sqrt(np.finfo(float).eps) * np.abs(x) + tolerance / 3
        i = np.flatnonzero(np.abs(x - (a + b) / 2) > 2 * near - (b - a) / 2)  # rows that go on
        if len(i) == 0:
            break
        A, B, X, tiny = a[i], b[i], x[i], near[i]
        middle = (A + B) / 2
        # A parabola through the three best, if it falls inside and moves less than half of the step before last.
        r, q = (X - w[i]) * (fx[i] - fv[i]), (X - v[i]) * (fx[i] - fw[i])
        p, q = (X - v[i]) * q - (X - w[i]) * r, 2 * (q - r)
        p, q = np.where(q > 0, -p, p), np.abs(q)
        fits = (
            (np.abs(before[i]) > tiny) & (np.abs(p) < np.abs(q * before[i] / 2)) & (p > q * (A - X)) & (p < q * (B - X))
        )
        parabolic = np.where(fits, p, 0) / np.where(fits, q, 1)
        to_edge = (X + parabolic - A < 2 * tiny) | (B - (X + parabolic) < 2 * tiny)
        parabolic = np.where(to_edge, np.where(middle >= X, tiny, -tiny), parabolic)
        wide = np.where(middle <= X, A - X, B - X)  # otherwise a golden section of the longer side
        before[i] = np.where(fits, last[i], wide)
        last[i] = np.where(fits, parabolic, GOLDEN * wide)
        u = X + np.where(last[i] >= 0, 1, -1) * np.maximum(np.abs(last[i]), tiny)
        fu = cost(u, i)

        better, right = fu <= fx[i], u >= X
        a[i] = np.where(better, np.where(right, X, A), np.where(right, A, u))
        b[i] = np.where(better, np.where(right, B, X), np.where(right, u, B))
        second = ~better & ((fu <= fw[i]) | (w[i] == X))
        third = ~better & ~second & ((fu <= fv[i]) | (v[i] == X) | (v[i] == w[i]))
        v[i], fv[i] = (
            np.where(better | second, old[i], np.where(third, new, now[i]))
            for old, new, now in ((w, u, v), (fw, fu, fv))
        )
        w[i], fw[i] = (
            np.where(better, old[i], np.where(second, new, now[i])) for old, new, now in ((x, u, w), (fx, fu, fw))
        )
        x[i], fx[i] = np.where(better, u, X), np.where(better, fu, fx[i])
    return x, fx
