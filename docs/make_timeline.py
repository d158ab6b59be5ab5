"""The picture that README opens with: lines of a dialogue, one after another, as `sottovoce view` shows them.

Run:     python docs/make_timeline.py audio/12/12000*.ogg -o docs/timeline.png
Needs:   Chromium; the speech of the game Flight of the Amazon Queen (Debian: flight-of-the-amazon-queen, resources *.SB
         of queen.1c, which are MP3), whose names are in the order of the lines; any other recordings do, too
"""

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

import sottovoce
from sottovoce import report
from sottovoce.data import audio
from sottovoce.inference import page

PAUSE = np.zeros(4800, np.float32)  # 0.3 s at 16 kHz
SIZE = 1100, 820  # pixels
NAME = "queen"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("recordings", nargs="+", type=Path)
    asked.add_argument("-o", "--output", type=Path, default=Path("docs/timeline.png"))
    words = asked.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "no Chromium"
    with tempfile.TemporaryDirectory() as folder:
        sounds, shown = Path(folder) / f"{NAME}.wav", Path(folder) / f"{NAME}.html"
        lines = [part for path in words.recordings for part in (audio.read(path).values, PAUSE)]
        soundfile.write(sounds, np.concatenate(lines[:-1]), 16_000)
        found = replace(sottovoce.load()(sounds), path=sounds.name)
        shown.write_text(report.view_page(found.to_dict(), page.mp3(sounds)), encoding="utf-8")
        subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder}/x", "--virtual-time-budget=3000", f"--window-size={SIZE[0]},{SIZE[1]}",
             f"--screenshot={words.output.resolve()}", shown.as_uri()], check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
