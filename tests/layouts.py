"""Tiny fake corpora in their official layouts: noise of a third of a second under the right names.

Every writer takes the folder to fill and returns it. Nothing is copied from a real corpus but the form of its names.
"""

import csv
import itertools
import json
from pathlib import Path

import numpy as np

SECONDS = 0.3
RATE_HZ = 16_000
COUNT = itertools.count()


def noise(
    path: Path, *, seconds: float = SECONDS, rate_hz: int = RATE_HZ, channels: int = 1, level: float = 0.1
) -> Path:
    """A recording unlike any other this module wrote."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(next(COUNT))
    samples = level * rng.uniform(-1, 1, (round(seconds * rate_hz), channels))
    soundfile.write(path, samples, rate_hz)
    return path


def ravdess(root: Path, *, actors: int = 24, suffix: str = ".wav", statements: int = 2, repetitions: int = 2) -> Path:
    for actor in range(1, actors + 1):
        codes = itertools.product(range(1, 9), (1, 2), range(1, statements + 1), range(1, repetitions + 1))
        for emotion, intensity, statement, repetition in codes:
            if (emotion, intensity) != (1, 2):  # there is no strong neutral
                name = f"03-01-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}{suffix}"
                noise(root / f"Actor_{actor:02}" / name)
    return root


def emodb(root: Path, *, suffix: str = ".wav") -> Path:
    for speaker, text, letter in itertools.product((3, 8, 9, 10, 11, 12, 13, 14, 15, 16), ("a01", "b02"), "WLEAFTN"):
        noise(root / "wav" / f"{speaker:02}{text}{letter}a{suffix}")
    return root


def cremad(root: Path, *, actors: int = 8, demographics: bool = True, suffix: str = ".wav") -> Path:
    names = [str(1001 + k) for k in range(actors)]
    for actor, emotion in itertools.product(names, ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")):
        noise(root / "AudioWAV" / f"{actor}_DFA_{emotion}_XX{suffix}")
        noise(root / "AudioWAV" / f"{actor}_IEO_{emotion}_HI{suffix}")
    if demographics:
        rows = [f"{actor},30,{'Male' if k % 2 else 'Female'},Caucasian,Not Hispanic" for k, actor in enumerate(names)]
        (root / "VideoDemographics.csv").write_text("\n".join(["ActorID,Age,Sex,Race,Ethnicity", *rows]) + "\n")
    return root


def tess(root: Path, *, words: int = 12, suffix: str = ".wav") -> Path:
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    for speaker, k, emotion in itertools.product(("OAF", "YAF"), range(words), emotions):
        noise(root / f"{speaker}_{emotion}" / f"{speaker}_word{k:02}_{emotion}{suffix}")
    return root


def savee(root: Path, *, flat: bool = False, suffix: str = ".wav") -> Path:
    for speaker, emotion, k in itertools.product(
        ("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su"), (1, 2)
    ):
        noise(root / (f"{speaker}_{emotion}{k:02}{suffix}" if flat else f"AudioData/{speaker}/{emotion}{k:02}{suffix}"))
    return root


def nemo(root: Path, *, table: bool = True, suffix: str = ".wav") -> Path:
    speakers = ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0")
    emotions = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
    rows = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for speaker, emotion, k in itertools.product(speakers, emotions, (1, 2)):
        if (speaker, emotion) != ("MK0", "surprised"):
            noise(root / "samples" / f"{speaker}_{emotion}_{k}{suffix}")
            gender = "female" if speaker in ("EB0", "IC0", "KD0", "MK0") else "male"
            rows.append(f"{speaker}_{emotion}_{k}.wav\t{emotion}\tTak.\ttak\t{speaker}\t{gender}\t27")
    if table:
        (root / "data.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def esd(
    root: Path, *, speakers: tuple[int, ...] = (1, 4, 11, 12, 15, 16), parts: bool = False, suffix: str = ".wav"
) -> Path:
    for speaker, (k, emotion) in itertools.product(
        speakers, enumerate(("Neutral", "Angry", "Happy", "Sad", "Surprise"))
    ):
        for number in (1, 2):
            folder = root / f"{speaker:04}" / emotion / ("train" if parts else "")
            noise(folder / f"{speaker:04}_{350 * k + number:06}{suffix}")
        text = root / f"{speaker:04}" / f"{speaker:04}.txt"
        text.write_text(f"{speaker:04}_000001\tThe nine the eggs, I keep.\tNeutral\n", encoding="utf-8")
    return root


def librispeech(root: Path, *, suffix: str = ".flac") -> Path:
    for reader, chapter, k in itertools.product(("14", "16", "19"), ("208", "212"), (0, 1)):
        noise(root / f"train-clean-100/{reader}/{chapter}/{reader}-{chapter}-{k:04}{suffix}")
    (root / "SPEAKERS.TXT").write_text(
        "; ID  |SEX| SUBSET           |MINUTES| NAME\n"
        "14   | F | train-clean-100  | 25.03 | A\n16   | M | train-clean-100  | 25.11 | B\n19 | F | x | 1 | C | D\n"
    )
    return root


LEXICON = {  # of a language with six phones, each a tone of its own
    "BADO": "B A D O",
    "DABI": "D A B I",
    "MIDO": "M I D O",
    "OMA": "O M A",
    "IDA": "I D A",
}
TONES = {"B": 300, "A": 700, "D": 1300, "O": 2100, "I": 3200, "M": 4600}  # Hz


def spelled(root: Path, *, parts: dict[str, tuple[str, ...]] | None = None, each: int = 8) -> Path:
    """LibriSpeech's folders with transcripts, in which every phone is 120 ms of its tone; and `lexicon.txt`.

    `parts`: readers of each folder; `each` utterances a reader, of three words.
    """
    import soundfile

    rng = np.random.default_rng(0)
    parts = parts or {"train-clean-100": ("11", "12", "13"), "dev-clean": ("21",), "test-clean": ("31", "32")}
    time_s = np.arange(round(0.12 * RATE_HZ)) / RATE_HZ
    fade = np.sin(np.pi * np.arange(len(time_s)) / len(time_s)) ** 0.5
    for part, readers in parts.items():
        for reader in readers:
            folder, lines = root / part / reader / "100", []
            folder.mkdir(parents=True)
            for k in range(each):
                words = [list(LEXICON)[i] for i in rng.integers(0, len(LEXICON), 3)]
                tones = [TONES[phone] * rng.uniform(0.97, 1.03) for w in words for phone in LEXICON[w].split()]
                wave = np.concatenate([fade * np.sin(2 * np.pi * tone * time_s) for tone in tones])
                name = f"{reader}-100-{k:04}"
                soundfile.write(folder / f"{name}.flac", 0.3 * wave + 0.003 * rng.normal(size=len(wave)), RATE_HZ)
                lines.append(f"{name} {' '.join(words)}")
            (folder / f"{reader}-100.trans.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{word}\t{phones}" for word, phones in LEXICON.items()] + ["BADO B A D"]  # a second pronunciation
    (root / "lexicon.txt").write_text("\n".join(lines) + "\n")
    return root


# neutral, happy, excited, angry, sad a session, such that the four classes give 5,531
IEMOCAP = {
    1: (384, 135, 143, 229, 194),
    2: (362, 117, 210, 137, 197),
    3: (320, 135, 151, 240, 305),
    4: (258, 65, 238, 327, 143),
    5: (384, 143, 299, 170, 245),
}


def iemocap(
    root: Path, *, counts: dict[int, tuple[int, ...]] | None = None, empty: bool = False, suffix: str = ".wav"
) -> Path:
    """Sessions with so many turns of each class, and one turn of every other class.

    `empty` makes recordings of no bytes, for tests that read names only.
    """
    for session, numbers in (counts or dict.fromkeys(range(1, 6), (2, 1, 1, 2, 2))).items():
        words = [w for w, n in zip(("neu", "hap", "exc", "ang", "sad"), numbers, strict=True) for _ in range(n)]
        words += ["fru", "fea", "sur", "dis", "oth", "xxx"]
        folder = root / f"Session{session}/dialog/EmoEvaluation"
        (folder / "Categorical").mkdir(parents=True)
        for first in range(0, len(words), 500):
            dialogue = f"Ses{session:02}F_impro{first // 500 + 1:02}"
            lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            for k, word in enumerate(words[first : first + 500]):
                turn = f"{dialogue}_{'FM'[k % 2]}{k:03}"
                lines += [f"[{k}.2901 - {k}.9357]\t{turn}\t{word}\t[2.5000, 3.0000, {1 + k % 5}.5000]"]
                lines += ["C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
                path = root / f"Session{session}/sentences/wav/{dialogue}/{turn}{suffix}"
                if empty:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
                else:
                    noise(path)
            (folder / "Categorical" / f"{dialogue}_e1_cat.txt").write_text(f"{dialogue}_F000 :Neutral state; ()\n")
            (folder / f"{dialogue}.txt").write_text("\n".join(lines) + "\n")
            (folder / f"._{dialogue}.txt").write_bytes(b"\x00\x05[1.0 - 2.0]\tSes01F_impro01_F000\tang\t[1, 1, 1]")
    return root


COMMANDS = (  # transcription, action, object, location
    ("Turn on the lights", "activate", "lights", "none"),
    ("Turn the kitchen heat up", "increase", "heat", "kitchen"),
    ("Switch off the washroom lights", "deactivate", "lights", "washroom"),
    ("Set language to Chinese", "change language", "Chinese", "none"),
)


def fluent(root: Path, *, suffix: str = ".wav") -> Path:
    """Six speakers train, two validate, two test; every one says every command twice."""
    people = [f"spk{k:02}XyZ" for k in range(10)]
    for part, speakers in (("train", people[:6]), ("valid", people[6:8]), ("test", people[8:])):
        rows = []
        for speaker, (words, *slots), k in itertools.product(speakers, COMMANDS, (1, 2)):
            path = f"wavs/speakers/{speaker}/{speaker}-{slots[0]}-{k}{suffix}"
            noise(root / path)
            names = ("", "path", "speakerId", "transcription", "action", "object", "location")
            rows.append(dict(zip(names, (len(rows), path, speaker, words, *slots), strict=True)))
        write_table(root / f"data/{part}_data.csv", rows)
    return root


def folder(
    root: Path, *, classes: tuple[str, ...] = ("angry", "happy", "sad"), speakers: int = 6, each: int = 2
) -> Path:
    """`angry/s01_0.wav` and so on."""
    for name, speaker, k in itertools.product(classes, range(1, speakers + 1), range(each)):
        noise(root / name / f"s{speaker:02}_{k}.wav")
    return root


def table(
    root: Path, *, name: str = "data.csv", speakers: int = 6, each: int = 2, split: bool = False, **columns: str
) -> Path:
    """A CSV with file, label, speaker, gender, valence (and split) beside its recordings; returns the CSV.

    `columns` calls some of them otherwise: `file="clip"`.
    """
    rows = []
    for k, (speaker, label, n) in enumerate(itertools.product(range(1, speakers + 1), ("Anger", "happy"), range(each))):
        path = noise(root / "clips" / f"s{speaker}_{label}_{n}.wav")
        row: dict[str, object] = {"file": path.relative_to(root).as_posix(), "label": label, "speaker": f"s{speaker}"}
        row |= {"gender": "fm"[speaker % 2], "valence": k % 5 / 2}
        if split:
            row["split"] = "test" if speaker == 1 else "valid" if speaker == 2 else "train"
        rows.append({columns.get(key, key): value for key, value in row.items()})
    return write_table(root / name, rows)


def write_table(path: Path, rows: list[dict]) -> Path:
    """CSV, TSV, JSON Lines, JSON or Parquet, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pandas

        pandas.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        with open(path, "w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


NAMED = {  # corpora whose labels are in names or in tables of their own
    "ravdess": ravdess,
    "emodb": emodb,
    "cremad": cremad,
    "tess": tess,
    "savee": savee,
    "nemo": nemo,
    "esd": esd,
    "iemocap": iemocap,
    "librispeech": librispeech,
    "fluent": fluent,
}
