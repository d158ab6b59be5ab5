"""Memory and time of an hour-long recording: `python -m bench.memory [--recording hour.wav] [--run runs/ft]`.

Commands of their own process, as a user gives them: `features --track encoder`, and `predict` of a run where one is
named. Own memory is what a process alone has (anonymous pages), resident counts pages of files too, which the system
takes back when it needs them. Aim: an hour within 600 MiB.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000


def speechlike(path: Path, minutes: int) -> None:
    """Bursts of noise with pauses between them."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as out:
        for _ in range(minutes):
            loud = np.repeat(rng.random(60) < 0.8, RATE_HZ)
            out.write(0.1 * loud * rng.standard_normal(60 * RATE_HZ, np.float32))


def peak(command: list[str]) -> tuple[float, float, float]:
    """Largest own and resident MiB of a command, sampled, and its seconds."""
    own = resident = 0
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "sottovoce", *command], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                status = dict(
                    line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                )
                own, resident = (
                    max(now, int(status[key].split()[0]))
                    for now, key in ((own, "RssAnon"), (resident, "VmRSS"))
                )  # fmt: skip
            except (OSError, KeyError):
                break
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: failed")
    return own / 1024, resident / 1024, time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--recording", type=Path, help="default: an hour is made")
    options.add_argument("--minutes", type=int, default=60, help="of what is made")
    options.add_argument("--run", help="fine-tuned run to predict with; default: none")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = chosen.recording or Path(folder) / "hour.wav"
        if not chosen.recording:
            speechlike(recording, chosen.minutes)
        commands = {
            "features --track encoder": ["features", str(recording), "--track", "encoder", "-o", f"{folder}/f.npz"]
        }
        if chosen.run:
            commands["predict"] = ["predict", chosen.run, str(recording), "-o", f"{folder}/p.csv"]
        print("| command | own MiB | resident MiB | wall s |\n|---|---|---|---|")
        for name, command in commands.items():
            own, resident, seconds = peak(command)
            print(f"| {name} | {own:.0f} | {resident:.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
