"""Which models of a run have not heard a recording or its speaker: they answer, the others would only remember.

A recording of the run's own corpus is known by its path or its content (`sottovoce.data.contents`), its speaker by the
manifest; a copy from elsewhere by the contents in every run's seen.json, pre-training included.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from sottovoce.data import audio, contents
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.folds import Seen, person, seen_by
from sottovoce.data.runs import Run
from sottovoce.errors import InputError

DECODED_S = 60.0  # a recording up to this long is also compared by its samples, a longer one by its bytes


class Heard:
    """What the models of a run know of recordings. `runs`: one a model, None where it is in no folder."""

    def __init__(self, runs: Sequence[Run | None]):
        self.runs = list(runs)
        self.seen: list[Seen] = [seen_by(run) for run in self.runs]
        self.known = [contents.Known(seen.contents) for seen in self.seen]

    def unheard(self, path: Path) -> tuple[list[int], str]:
        """Indices of the models that may answer, and what is to be said of it ("" where there is nothing).

        A model that has heard the recording, or another one of its speaker, gives way to those that have not. Where all
        have, all answer and the note says so.
        """
        if not any(seen.people for seen in self.seen):
            return list(range(len(self.runs))), ""
        marks = self._marks(path)
        speakers = self._people(path, marks)
        heard = [bool(speakers & seen.people) or known.has(marks)
                 for seen, known in zip(self.seen, self.known, strict=True)]  # fmt: skip
        free = [k for k, known in enumerate(heard) if not known]
        if all(heard):
            return list(range(len(heard))), "seen in training: the model knows this speaker or recording, no fair test"
        if len(free) == len(heard):
            return free, ""
        names = ", ".join(str(run.config["fold"]) for k in free if (run := self.runs[k]))
        return free, f"answered by {names} alone, which has not heard this speaker"

    def _marks(self, path: Path) -> contents.Marks:
        """Of the file, and of its samples where it is short; none where it cannot be read (it is refused later)."""
        segment = Utterance("", "recording", str(path))
        try:
            short = audio.probe(path).duration_s <= DECODED_S
            return contents.marks(segment, *(contents.look(path, 0.0, None) if short else (contents.of_file(path), "")))
        except (InputError, OSError):
            return ()

    def _people(self, path: Path, marks: contents.Marks) -> set[str]:
        """Who speaks in it, as far as the run's corpora tell."""
        found: set[str] = set()
        for paths, of_mark in self._corpora:
            found |= paths.get(str(path.resolve()), set())
            for mark in marks:
                found |= of_mark.get(mark, set())
        return found

    @cached_property
    def _corpora(self) -> list[tuple[dict[str, set[str]], dict[str, set[str]]]]:
        """People by path and by mark, of each corpus that the runs were fine-tuned on and that is still there."""
        found = []
        for folder in sorted({str(run.config["corpus"]) for run in self.runs if run and "corpus" in run.config}):
            try:
                corpus = Corpus.load(folder)
            except InputError:  # moved or gone: what is left is known by content
                continue
            root, paths, of_mark = corpus.root.resolve(), {}, {}  # type: ignore[var-annotated]
            marks = corpus.contents if (corpus.folder / contents.FILE).is_file() else {}
            for u in corpus.utterances:
                paths.setdefault(str(root / u.path), set()).add(person(u))
                for mark in marks.get(u.id, ()):
                    of_mark.setdefault(mark.partition("@")[0], set()).add(person(u))
            found.append((paths, of_mark))
        return found
