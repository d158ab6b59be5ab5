"""LibriSpeech: read English audio books, up to 2,484 speakers, no emotion labels (for pre-training).

Source:   https://www.openslr.org/12. `--part` names what to download: dev-clean, dev-other, test-clean, test-other,
          train-clean-100 (6.4 GB, the default), train-clean-360, train-other-500; several with commas.
Licence:  CC BY 4.0.
Size:     982 h in all, 100 h in train-clean-100. Utterances are long, 12 s in the median.
Names:    reader-chapter-utterance, e.g. 1688-142285-0000.flac; gender from SPEAKERS.TXT where it is there.
Labels:   none, so there are no folds.
Cite:     Panayotov, Chen, Povey & Khudanpur, "Librispeech: an ASR corpus based on public domain audio books",
          ICASSP 2015, pp. 5206-5210.
"""

from pathlib import Path
from typing import Annotated

from sottovoce.config.settings import words
from sottovoce.corpora import _layout
from sottovoce.data.corpus import Utterance
from sottovoce.data.download import Archive, Progress, get
from sottovoce.errors import check_names

LICENCE = "CC BY 4.0"
SOURCE = "https://www.openslr.org/12"
OFFICIAL = "https://www.openslr.org/resources/12/"
TARGET: tuple[str, ...] = ()
PARTS = {  # MD5 as in https://www.openslr.org/resources/12/md5sum.txt
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}


def utterances(root: Path) -> list[Utterance]:
    """Every recording named as above, at any depth. Raises InputError: none found, or a pointer in place of a table."""
    recordings = _layout.matching(root, r"(\d+)-(\d+)-(\d{4})", "LibriSpeech", "1688/142285/1688-142285-0000.flac")
    genders = _genders(Path(root))
    found = []
    for path, match in recordings:
        reader, chapter, _ = match.groups()
        gender = genders.get(reader, "")
        found.append(Utterance(Path(path).stem, "librispeech", path, speaker=reader, session=chapter, gender=gender))
    return found


def download(
    root: Path,
    *,
    base_url: str = OFFICIAL,
    progress: Progress | None = None,
    part: Annotated[str, "what to download, e.g. dev-clean,train-clean-360"] = "train-clean-100",
) -> list[dict]:
    """The parts named, into `root`. Raises InputError."""
    names = words(part)
    check_names("part of librispeech", names, PARTS)
    return get(root, base_url, [Archive(f"{n}.tar.gz", f"md5:{PARTS[n]}") for n in names], progress=progress)


def _genders(root: Path) -> dict[str, str]:
    """{reader: gender} of SPEAKERS.TXT: `14   | F | train-clean-360  | 25.03 | name`, comments after ";"."""
    path = _layout.first_named(root, "SPEAKERS.TXT")
    if path is None:
        return {}
    lines = _layout.lines_of(_layout.read_text(path, errors="replace"))
    rows = [line.split("|") for line in lines if not line.startswith(";") and line.count("|") >= 2]
    return {row[0].strip(): _layout.gender(row[1]) for row in rows}
