"""Every command of README.md in its order, as printed, in one fresh folder: `python docs/readme_commands.py [FOLDER]`.

    SOTTOVOCE_DATA=/path/to/corpora python docs/readme_commands.py fresh     # RAVDESS and LibriSpeech from there
    python docs/readme_commands.py fresh                                     # recordings that are made up, no network
    python docs/readme_commands.py fresh --make                              # `make` and `pip` too: a new environment

DIR is the corpus that the reader asks for. What takes long is given the settings of SMALL, nothing else is changed;
an encoder of the hub becomes a small one made here. Without --make, `make demo` is what it runs: `sottovoce demo`.
Prints the seconds of every command; exit code 1 when one fails.
"""

import argparse
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HOME = Path(__file__).parents[1]
EPOCH = ("training.epochs=1", "training.min_updates=0", "training.save_every=600")
TINY = ("backbone.layers=1", "backbone.width=32", "backbone.heads=2", "backbone.feedforward=64")
# What is added to a long command: verb, or verb and first word -> options.
SMALL: dict[str, tuple[str, ...]] = {
    "pretrain masked_timesteps": ("--fold", "all", *(w for s in EPOCH for w in ("--set", s))),
    "pretrain strengthnet": ("--set", "training.epochs=1", "--set", "training.min_updates=0"),
    "pretrain ems_mockingjay": tuple(w for s in (*EPOCH, *TINY) for w in ("--set", s)),
    "pretrain hubert": tuple(
        w for s in (*EPOCH, "backbone.size=toy", "objective.targets=mfcc:16") for w in ("--set", s)
    ),
    "run masked_timesteps": ("--fold", "fold1", "--no-opensmile", "--small", "--set", "pretrain.training.epochs=1"),
    "run ems": (
        *("--fold", "fold1", "--no-opensmile", "--set", "intensity.training.epochs=1"),
        *(w for s in (EPOCH[0], *TINY) for w in ("--set", f"pretrain.{s}")),
    ),
    "run gmp_tl": ("--fold", "fold1", "--no-opensmile", "--small", "--set", "clusters=8,16", "--ablate", "plain"),
    "study": ("--labels", "20,100%", "--seeds", "1", "--fold", "fold1"),
    "evaluate": ("--no-opensmile",),
    "label": ("--clusters", "8,16"),
    "demo": ("--epochs", "1"),
}


def blocks(text: str) -> list[str]:
    """The code blocks of a Markdown file, fenced (but in no other language than a shell's) or indented by four."""
    found = [
        body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M) if kind in ("", "sh", "bash")
    ]
    rest = re.sub(r"^```.*?^```\n", "", text, flags=re.S | re.M)
    return found + [re.sub("^    ", "", part, flags=re.M) for part in re.findall(r"(?:^    .*\n)+", rest, re.M)]


def commands(text: str, programs: tuple[str, ...] = ("sottovoce",)) -> list[list[str]]:
    """The commands of a Markdown file as words, in their order: comments are left out, continued lines joined, and
    `a && b` is two commands."""
    places = []
    for block in blocks(text):
        joined = re.sub(r"\s*\\\n\s*", " ", block)
        for line in joined.splitlines():
            for part in re.sub(r"\s+#.*$", "", line.strip()).split(" && "):
                if part.split(" ")[0] in programs:
                    places.append((text.find(block.splitlines()[0]), part))
    return [shlex.split(part) for _, part in sorted(places, key=lambda place: place[0])]


def small(words: list[str]) -> list[str]:
    """A command with what it is given to be short."""
    for head in (" ".join(words[1:3]), words[1] if len(words) > 1 else ""):
        if head in SMALL:
            return [*words, *SMALL[head]]
    return words


def stage(folder: Path) -> dict[str, str]:
    """The recordings that README speaks of, in the folder; {reader: DIR}."""
    sys.path[:0] = [str(HOME), str(HOME / "tests")]
    import layouts
    import numpy as np
    import soundfile

    from sottovoce.corpora import synthetic

    given = folder / "given"
    if "SOTTOVOCE_DATA" in os.environ:
        real = Path(os.environ["SOTTOVOCE_DATA"])
        _link(sorted((real / "ravdess_speech").rglob("Actor_0*/*.flac"))[::2], given / "ravdess")
        _link(sorted((real / "librispeech_subset").rglob("*.flac"))[:24], given / "librispeech")
    else:
        layouts.ravdess(given / "ravdess", actors=8, statements=1, repetitions=1)
        layouts.librispeech(given / "librispeech")
    voices = []
    for u, wave, _ in synthetic.generate(speakers=6, per_speaker=10, seconds=(1.0, 1.5), difficulty=0.1):
        path = folder / "my_recordings" / str(u.labels["emotion"]) / f"{u.speaker}_{len(voices):03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave.values, 16000)
        voices.append(wave.values)
    mine = folder / "my_recordings"
    rows = [f"{p.relative_to(mine)},{p.parent.name},{p.name.split('_')[0]}" for p in sorted(mine.rglob("*.wav"))]
    (given / "hf").mkdir(parents=True)
    (given / "hf/train").symlink_to(mine)
    (mine / "metadata.csv").write_text("\n".join(["file_name,emotion,speaker", *rows]) + "\n")
    (given / "tar").mkdir()
    with tarfile.open(given / "tar/000.tar", "w") as shard:
        for p in sorted(mine.rglob("*.wav")):
            shard.add(p, p.name)
            said = json.dumps({"emotion": p.parent.name, "speaker": p.name.split("_")[0]}).encode()
            beside = tarfile.TarInfo(f"{p.stem}.json")
            beside.size = len(said)
            shard.addfile(beside, io.BytesIO(said))
    (folder / "MY_RECORDINGS").symlink_to("my_recordings")
    (folder / "folder").mkdir()
    talk = np.concatenate(voices[:6])
    for name in ("clip.wav", "folder/a.wav", "talk.mp3"):
        soundfile.write(folder / name, talk, 16000)
    return {name: f"given/{name}" for name in ("ravdess", "librispeech", "hf", "tar")}


def _link(recordings: list[Path], home: Path) -> None:
    for path in recordings:
        (home / path.parent.name).mkdir(parents=True, exist_ok=True)
        (home / path.parent.name / path.name).symlink_to(path)


def run(words: list[str], folder: Path, env: dict[str, str]) -> bool:
    """One command in the folder: its seconds, and what it said where it failed."""
    started = time.monotonic()
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    said = shlex.join("sottovoce" if k == 0 and word == "SOTTOVOCE" else word for k, word in enumerate(words))
    print(f"{'ok  ' if not done.returncode else 'FAIL'} {time.monotonic() - started:6.1f} s  {said}", flush=True)
    if done.returncode:
        print(done.stdout[-2000:] + done.stderr[-4000:], flush=True)
    return not done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", default="readme", type=Path, help="a new folder")
    parser.add_argument("--make", action="store_true", help="make demo in a copy of the repository, set-up and all")
    parser.add_argument("--encoder", default="", help="folder that stands for the hub's; default: those are left out")
    parser.add_argument("--only", default="", help="regular expression that commands have to match")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True)
    readers = stage(folder)
    env = os.environ | {"PYTHONPATH": str(HOME), "HF_HUB_OFFLINE": "1"}
    program = [sys.executable, "-m", "sottovoce"]
    if given.make:
        subprocess.run(["git", "clone", "-q", str(HOME), str(folder / "clone")], check=True)
    good = True
    for words in commands((HOME / "README.md").read_text(encoding="utf-8"), ("sottovoce", "make")):
        if given.only and not re.search(given.only, shlex.join(words)):
            continue
        if words[0] == "make":
            data = next((word.partition("=")[2] for word in words if word.startswith("DATA=")), "")
            if words[1] != "demo":
                continue
            if given.make:
                corpus = [f"DATA={folder / readers['ravdess']}"] if data else []
                good &= run(["make", "-C", "clone", "demo", *corpus], folder, dict(os.environ))
                continue
            words = ["sottovoce", "demo", "-o", "demo", *(["--data", "DIR"] if data else [])]
        if any("/" in word and word.startswith(("openai", "facebook")) for word in words):
            if not given.encoder:
                print(f"left out, needs the hub: {shlex.join(words)}", flush=True)
                continue
            words = [given.encoder if word.startswith(("openai", "facebook")) else word for word in words]
        here = readers.get(words[2] if words[1] == "prepare" else "ravdess", "")
        words = [here if word in ("DIR", "/path/to/ravdess") else word for word in small(words)]
        good &= run([*program, *words[1:]], folder, env)
    return not good


if __name__ == "__main__":
    sys.exit(main())
