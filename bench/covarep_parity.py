"""Are our 74 columns the original's? `python -m bench.covarep_parity [--files]`, exit code 1 where they are not.

Extracts every recording of $SOTTOVOCE_DATA/covarep_reference and of its `edge/`, and holds the columns against what
the original COVAREP wrote for them, with the tolerances of that folder's README. A frame is within tolerance if all
columns of its group are. Recordings with digital silence, at another rate, or too short for the original are held
against what can be expected of them. The table is that of docs/covarep.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import soundfile

from sottovoce.tracks import covarep
from sottovoce.tracks.covarep.conventions import wrap

RATE_HZ = 16_000
EDGE_FRAMES = 20  # 0.2 s at either end, where the deviation hangs on the last bit
SMOOTHED_S = 0.3  # silence reaches so far into the phase distortion
SILENT, OTHER_RATE, SHORT = "digital_silence", "native44k_jfk", "short_0p70s"


@dataclass(frozen=True)
class Rule:
    """What a group of columns has to reach."""

    name: str
    columns: slice
    tolerance: float  # absolute
    share: float = 1.0  # of the frames that must be within it
    limit: float = np.inf  # for every frame
    circular: bool = False
    inside: bool = False  # leave out the ends of each recording

    def errors(self, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """(T,) largest difference of the group's columns; equal infinities and zeros agree."""
        ours, theirs = ours[:, self.columns], theirs[:, self.columns]
        with np.errstate(invalid="ignore"):
            difference = np.where(ours == theirs, 0.0, ours - theirs)
        error = np.abs(wrap(difference) if self.circular else difference).max(axis=1)
        return error[EDGE_FRAMES:-EDGE_FRAMES] if self.inside else error

    def holds(self, error: np.ndarray) -> bool:
        return bool(np.mean(error <= self.tolerance) >= self.share and (error <= self.limit).all())


def column(name: str) -> slice:
    at = covarep.NAMES.index(name)
    return slice(at, at + 1)


PHASE_MEAN = Rule("HMPDM_0..23", slice(36, 60), 1e-6, circular=True)
RULES = (
    Rule("F0", column("F0"), 0.0),
    Rule("VUV", column("VUV"), 0.0),
    Rule("NAQ", column("NAQ"), 1e-6),
    Rule("QOQ", column("QOQ"), 1e-6, share=0.999),
    Rule("H1H2", column("H1H2"), 1e-6),
    Rule("PSP", column("PSP"), 1e-6),
    Rule("MDQ", column("MDQ"), 1e-6, share=0.99),
    Rule("peakSlope", column("peakSlope"), 1e-6),
    Rule("Rd", column("Rd"), 1e-6, share=0.99, limit=5e-3),
    Rule("Rd_conf", column("Rd_conf"), 1e-6, share=0.99, limit=1e-4),
    Rule("MCEP_0..24", slice(11, 36), 1e-6, share=0.999, limit=5e-3),
    PHASE_MEAN,
    Rule("HMPDD_0..12, 0.2 s from the ends", slice(61, 74), 1e-2, share=0.99, inside=True),
)
DRAWN = Rule("HMPDM_24, random by design", slice(60, 61), np.inf, circular=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", action="store_true", help="also a row for every recording")
    options = parser.parse_args(arguments)
    folder = Path(os.environ.get("SOTTOVOCE_DATA", "")) / "covarep_reference"
    if not folder.is_dir():
        sys.exit("covarep_parity: no reference. Set SOTTOVOCE_DATA to the folder that holds covarep_reference.")
    ours, theirs, seconds, spent = {}, {}, 0.0, time.process_time()
    for path in sorted([*folder.glob("*.wav"), *folder.glob("edge/*.wav")]):
        samples, rate_hz = soundfile.read(path, dtype="float64")
        ours[path.stem] = covarep.extract(samples, rate_hz).values
        seconds += len(samples) / rate_hz
        if path.with_suffix(".npz").exists():
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
                theirs[path.stem] = file["features"]
    spent = time.process_time() - spent
    plain = [name for name in theirs if name not in (SILENT, OTHER_RATE)]
    kept = all([report(plain, ours, theirs), *edge_cases(ours, theirs, folder)])
    random_columns(ours, theirs, folder)
    if options.files:
        print("\n| recording | " + " | ".join(rule.name for rule in RULES) + " |\n|---" * 1 + "|---" * len(RULES) + "|")
        for name in plain:
            worst = [rule.errors(ours[name], theirs[name]).max() for rule in RULES]
            print(f"| {name} | " + " | ".join(f"{error:.1e}" for error in worst) + " |")
    print(f"\n{seconds:.0f} s of audio in {spent:.0f} s of CPU. {'All tolerances kept.' if kept else 'MISSED.'}")
    return 0 if kept else 1


def report(names: list[str], ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    frames = sum(len(theirs[name]) for name in names)
    print(f"{len(names)} recordings, {frames} frames\n")
    print("| columns | tolerance | frames within | 99th percentile | maximum | |\n|---|---|---|---|---|---|")
    kept = []
    for rule in (*RULES, DRAWN):
        error = np.concatenate([rule.errors(ours[name], theirs[name]) for name in names])
        kept.append(rule.holds(error))
        wanted = "exact" if rule.tolerance == 0 else f"{rule.tolerance:.0e}".replace("e-0", "e-")
        wanted += f" in {rule.share:.1%}" if rule.share < 1 else ""
        wanted += f", {rule.limit:.0e} in all".replace("e-0", "e-") if np.isfinite(rule.limit) else ""
        within = f"{np.mean(error <= rule.tolerance):.2%}"
        if rule is DRAWN:
            wanted, within = "none", f"mean {error.mean():.2f} rad"
        print(
            f"| {rule.name} | {wanted} | {within} | {np.percentile(error, 99):.1e} | {error.max():.1e} "
            f"| {'yes' if kept[-1] else 'NO'} |"
        )
    return all(kept)


def random_columns(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], folder: Path) -> None:
    """How much two runs differ where phases are drawn: two of the original, ours and the original, two of ours."""
    with np.load(folder / "second_seed_columns_60_to_73.npz", allow_pickle=False) as file:
        again = {name: np.hstack([np.zeros((len(file[name]), 60)), file[name]]) for name in file.files}
    other = {}
    for name in again:
        samples, rate_hz = soundfile.read(folder / f"{name}.wav", dtype="float64")
        other[name] = covarep.extract(samples, rate_hz, seed=1).values
    print(f"\n| mean and 99th percentile of the difference, {len(again)} recordings, 0.2 s from the ends | ", end="")
    print("original, two runs | ours and the original | ours, two seeds |\n|---|---|---|---|")
    for rule in (replace(DRAWN, inside=True), RULES[-1]):
        cells = []
        for a, b in ((theirs, again), (ours, theirs), (ours, other)):
            error = np.concatenate([rule.errors(a[name], b[name]) for name in again])
            cells.append(f"{error.mean():.1e}, {np.percentile(error, 99):.1e}")
        print(f"| {rule.name.split(',')[0]} | " + " | ".join(cells) + " |")


def edge_cases(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], folder: Path) -> list[bool]:
    """One line for each recording that cannot be held to the table."""
    verdicts = []

    def check(name: str, what: str, holds: Callable[[], bool | np.bool_]) -> None:
        verdicts.append(bool(holds()))
        print(f"| {name} | {what} | {'yes' if verdicts[-1] else 'NO'} |")

    print("\n| recording | what is expected | |\n|---|---|---|")
    zeros = soundfile.read(folder / "edge" / f"{SILENT}.wav", dtype="float64")[0] == 0
    zeros = np.flatnonzero(np.convolve(zeros, np.ones(160), "same") >= 160)  # 10 ms of them
    a, b = ours[SILENT], theirs[SILENT]
    far = np.array([np.abs(zeros - (80 + 160 * k)).min() > SMOOTHED_S * RATE_HZ for k in range(len(b))])
    steady = [rule for rule in RULES if not (rule.circular or rule.inside)]
    check(
        SILENT,
        "all columns but HMPDM and HMPDD, everywhere",
        lambda: all(
            (rule.errors(a, b) <= (rule.limit if np.isfinite(rule.limit) else rule.tolerance)).all() for rule in steady
        ),
    )
    check(
        SILENT,
        f"HMPDM_0..23 in the {far.sum()} frames more than {SMOOTHED_S} s from silence; nearer they are random",
        lambda: (PHASE_MEAN.errors(a, b)[far] <= PHASE_MEAN.tolerance).all(),
    )
    check(SILENT, "nothing is NaN", lambda: not np.isnan(a).any())
    same = np.mean(np.abs(ours[OTHER_RATE][:, 0] - theirs[OTHER_RATE][:, 0]) <= 1)
    check(OTHER_RATE, f"F0 within 1 Hz in 95 % of the frames (resamplers differ): {same:.1%}", lambda: same >= 0.95)
    check(SHORT, "a row for every 10 ms, though the original stops with an error", lambda: len(ours[SHORT]) == 70)
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
