"""The protocol card: what a reader needs to trust a result or to repeat it, as JSON beside it and on its page.

split      a hash of who is on which side of every fold, and of the recordings' audio
choices    who chose what, by which score, on which part
budget     labels and trainings
exposure   whose audio the weights have seen, test speakers by name
seeds, weights, versions
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sottovoce import files
from sottovoce.config.finetuning import FineTuning
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.folds import person, seen_by
from sottovoce.data.task import Task

FILE = "protocol.json"
PARTS = {
    "fold": "dev speakers of the fold",
    "share": "a fifth of the training labels, of other speakers where there are several",
    "superb": "a random fifth of training, speakers shared",
    "test": "the test part (leaky)",
}


def card(
    corpus: Corpus,
    folds: Sequence[Fold],
    task: Task,
    *,
    choices: Sequence[dict[str, str]],
    budget: dict[str, Any],
    weights: Iterable[runs.Run],
    seeds: Iterable[int],
) -> dict[str, Any]:
    """The card of a result; `weights` are all runs whose weights it stands on."""
    stands_on = list(weights)
    seen = [seen_by(run) for run in stands_on]
    tested = {p for run, s in zip(stands_on, seen, strict=True) for f in folds_of(run, folds)
              for p in s.test_people([corpus], f)}  # fmt: skip
    return {
        "corpus": corpus.name,
        "task": {"kind": task.kind, "target": task.target, "classes": task.classes},
        "split": {
            "folds": [f.name for f in folds],
            "apart": sorted({f.group for f in folds}),  # by what; "none": nothing
            "hash": files.digest([[f.name, f.group, sorted(f.train), sorted(f.dev), sorted(f.test)] for f in folds]),
            "audio": corpus.info.get("audio_digest", ""),
            "recordings tested": sum(len(f.test) for f in folds),
        },
        "choices": [*choices, {"what": "the figures", "by": "every score", "on": "test, read once"}],
        "budget": budget,
        "exposure": {
            "people": people_of({p for s in seen for p in s.people}, corpus),
            "recordings": len({m for s in seen for m in s.contents if m.startswith("f")}),  # one mark each: of its file
            "test people": sorted(tested),
        },
        "seeds": sorted(set(seeds)),
        "weights": sorted({run.identity for run in stands_on}),
        "made": runs.provenance(),
    }


def people_of(names: Collection[str], corpus: Corpus) -> int:
    """How many people are among these; recordings and sessions whose speaker is unknown are none."""
    return len(set(names) - {person(u) for u in corpus.utterances if not u.speaker})


def folds_of(run: runs.Run, folds: Sequence[Fold]) -> list[Fold]:
    """Those that a run was made for; all, where it was made for none."""
    return [f for f in folds if f.name == run.config.get("fold")] or list(folds)


def chosen(by: str, tuning: FineTuning, what: str) -> dict[str, str]:
    """Who chose the settings of a recogniser."""
    return {"what": what, "by": by, "on": PARTS[tuning.dev]}


def save(
    folder: Path,
    name: str,
    result: Mapping[str, Any],
    page: Callable[[Any], str],
    figure: Callable[[Any, Path, Path], None] | None = None,
    *,
    named: str = "",
) -> None:
    """A result as NAME.json, as its page (`named`) and its picture, and its card."""
    files.write_json(folder / f"{name}.json", result)
    if "card" in result:
        files.write_json(folder / FILE, result["card"])
    plain = files.plain(result)
    if figure:
        figure(plain, folder / f"{name}.svg", folder / f"{name}.png")
    files.write_text(folder / f"{named or name}.html", page(plain))
