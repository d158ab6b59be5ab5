"""`sottovoce phoneme`: how well do the states of a frozen backbone spell? SUPERB's task PR (arXiv:2105.01051).

    frozen hidden layers -> weighted sum -> linear to 256 -> linear to phones and a blank, at every frame -> CTC

A verb of its own: what it learns stands in transcripts and a lexicon, not in a manifest, and it predicts sequences.
Settings of s3prl's `downstream/ctc/libriphone.yaml`; dev chooses learning rate and update by the phone error rate.
Departures: repeats are merged before blanks are dropped, as CTC is defined (s3prl drops blanks first); utterances
with a word that the lexicon lacks are left out and counted (SUPERB's lexicon spells every word, some by machine).

V phones.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce import report as pages
from sottovoce.config import recipe as recipes
from sottovoce.config.finetuning import Probe
from sottovoce.config.recipe import Recipe
from sottovoce.data import folds, runs
from sottovoce.data.batching import sequential
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.runs import Run
from sottovoce.data.task import Task
from sottovoce.errors import InputError, few
from sottovoce.evaluation import lines, phones
from sottovoce.evaluation.answered import Answered
from sottovoce.modeling import heads, network
from sottovoce.modeling import linear_probe as probe

PARTS = "train-clean-100,dev-clean,test-clean"  # SUPERB's
SHOWN = 10  # words, or examples, that a report names


def plan_of(corpus: Corpus, init: str, scratch: bool, settings: Sequence[str], seed: int) -> Recipe:
    """The system of a run (or the default one) with the head of this task."""
    if init == "none":
        if scratch:
            raise InputError("--scratch: whose settings? Found --init none. Name the run that it is compared with.")
        plan = recipes.resolve("masked_timesteps", [corpus])
    else:
        plan = runs.parts(init, "pretrain")[0].plan
    # batches of 16, accumulated twice; 1e-2 is s3prl's learning rate, the smaller one and `patience` are ours
    head = Probe(lrs=(1e-3, 1e-2), updates=100_000, epochs=1000, batch=32, readings=100)
    plan = replace(plan, finetune=head)
    return recipes.seeded(recipes.override(plan, settings), seed)


def split(corpus: Corpus, parts: str = PARTS) -> Fold:
    """The three folders as one fold; the readers dealt to ten parts (or fewer) where none of the folders is there.

    Raises InputError: not three names, some of them without recordings, fewer than three readers.
    """
    names = [name.strip() for name in parts.split(",")]
    if len(set(names)) != 3 or len(names) != 3:
        raise InputError(f"--parts {parts}: train, dev and test folder are three. Found {len(set(names))}. Name three.")
    found = {name: tuple(u.id for u in corpus.utterances if name in Path(u.path).parts) for name in names}
    if all(found.values()):
        return Fold("official", "speaker", *found.values())
    if any(found.values()):
        lacking = ", ".join(name for name in names if not found[name])
        raise InputError(f"{corpus.folder}: no recordings of {lacking}. Found the others. Add it, or change --parts.")
    readers = len({u.speaker for u in corpus.utterances})
    return replace(folds.group_folds(corpus.utterances, min(10, readers))[0], name="readers")


@dataclass(frozen=True)
class Reading:
    """What is said in a corpus, as phones."""

    phones: dict[str, tuple[str, ...]]  # of every utterance whose words all have an entry
    missing: dict[str, int]  # words without one, and how often they are said
    lexicon: Path


def read(corpus: Corpus, lexicon: Path) -> Reading:
    """Raises InputError: no transcripts, no lexicon."""
    words, said = phones.read_lexicon(lexicon), phones.read_transcripts(corpus.root)
    own = {u.id: said[u.id] for u in corpus.utterances if u.id in said}
    known = {key: tuple(p for w in line for p in words[w]) for key, line in own.items() if words.keys() >= set(line)}
    return Reading(known, phones.without_entry(own.values(), words), lexicon)


def phoneme(
    plan: Recipe,
    corpus: Corpus,
    store: Any,
    fold: Fold,
    reading: Reading,
    output: Path,
    init: Run | None,
    *,
    quiet: bool = True,
) -> dict[str, Any]:
    """Train the head, choose on dev, read test once; the report, or {} when the same run is finished in `output`.

    Raises InputError: a part without a usable transcript, another run in `output`.
    """
    from accelerate import Accelerator

    started, p, folder = time.monotonic(), plan.finetune, output / fold.name
    assert isinstance(p, Probe)  # of `plan_of`
    seed = p.seed
    sides = {side: usable(corpus, store, fold, side, reading) for side in fold.sides}
    symbols = sorted({phone for u in sides["train"] for phone in reading.phones[u.id]})
    task = Task("phones", ("phones",), tuple(symbols))
    earlier = network.load_pretrained(init) if init else None
    if earlier:
        network.check_same_input(earlier, plan, store.dim)
    said = {side: {u.id: reading.phones[u.id] for u in own} for side, own in sides.items()}
    run = Run.open(
        folder, "phoneme", plan, fold=fold.name, features=store.dim, before=init, seed=seed, task=task.plain(),
        decides={"said": said, "audio": corpus.info.get("audio_digest", ""), "seed": seed},
        seen=folds.Seen.of([corpus], [sides["train"] + sides["dev"]]), corpus=str(corpus.folder.resolve()),
        init=str(init.folder) if init else "none", labels=len(sides["train"]),
        seen_test_speakers=folds.seen_by(init).test_people([corpus], fold),
    )  # fmt: skip
    if run.finished:
        return {}

    torch.manual_seed(seed)
    backbone, statistics = network.begun(plan, store, sides["train"], earlier)
    head: Any = heads.FrameHead(len(backbone.blocks) + 1, backbone.dim, p.project, 1 + len(symbols))
    device = Accelerator().device
    backbone.to(device), head.to(device)
    steps = {side: Steps([(store, own)], plan.frontend, statistics) for side, own in sides.items()}
    states = {side: probe.frozen_states(backbone, of, averaged=False) for side, of in steps.items()}
    index = {phone: k for k, phone in enumerate(symbols, 1)}  # 0 is the blank
    target = [torch.tensor([index[phone] for phone in reading.phones[u.id]]) for u in sides["train"]]

    def judge(own: Any) -> dict[str, float]:
        per = error_rate(predict(own, states["dev"], steps["dev"], symbols), sides["dev"], reading)
        return {"dev_per": per, "select": -per}

    chosen, readings = probe.fit(
        head, len(target), lambda rows: (states["train"](rows), rows), ctc(target, device), p, judge=judge,
        label=f"phones of {fold.name}", quiet=quiet,
    )  # fmt: skip
    head.eval()
    with torch.inference_mode():
        predicted = predict(head, states["test"], steps["test"], symbols)
        layers = head.mix.softmax(0).tolist()
    rows = table(fold, sides["test"], reading, predicted)
    report = report_of(corpus, fold, task, sides, reading, rows, run.config)
    report["probes"] = [{"fold": fold.name, "layers": layers, "chosen": chosen, "probe": readings}]
    report["protocol"]["too short to be spelled"] = _too_short(steps["train"], sides["train"], reading)
    report["seconds"] = time.monotonic() - started
    files.write_csv(output / "predictions.csv", rows)
    files.write_json(output / "report.json", report)
    files.write_text(output / "report.html", pages.evaluate_page(files.plain(report)))
    network.save_pretrained(folder, backbone, statistics, head, "head")  # last: it makes the run a finished one
    run.finish()
    return report


def ctc(target: Sequence[Any], device: Any) -> Callable[[Any, Any], Any]:
    """(head, (hidden states, row numbers)) -> loss (), of phones by their numbers."""

    def loss(head: Any, batch: Any) -> Any:
        hidden, rows = batch
        scores = head(hidden).log_softmax(2).transpose(0, 1)  # (S, B, 1 + V)
        spelled = [target[k] for k in rows]
        lengths = torch.tensor([len(row) for row in spelled])
        # no path spells more phones than there are steps: such an utterance teaches nothing (zero_infinity)
        return torch.nn.functional.ctc_loss(
            scores, torch.cat(spelled).to(device), hidden.lengths, lengths, phones.BLANK, zero_infinity=True
        )

    return loss


def usable(corpus: Corpus, store: Any, fold: Fold, side: str, reading: Reading) -> list[Utterance]:
    """The utterances of a part that can be spelled. Raises InputError when there is none."""
    found = [corpus.by_id[key] for key in fold.sides[side] if key in reading.phones and key in store]
    if not found:
        words = ", ".join(list(reading.missing)[:SHOWN]) or "none"
        raise InputError(
            f"{reading.lexicon}: spells no utterance of the {side} part ({len(fold.sides[side])} there). "
            f"Words without an entry: {words}. Give a lexicon of this corpus's words."
        )
    return found


def predict(head: Any, states: Any, steps: Steps, symbols: Sequence[str]) -> list[tuple[str, ...]]:
    """Greedy predictions of every utterance, in order."""
    found: list[tuple[str, ...]] = [()] * len(steps)
    for rows in sequential(steps.lengths, batch_steps=steps.budget):
        scores = head(states(rows)).cpu().numpy()  # (B, S, 1 + V)
        for row, own in zip(rows, scores, strict=True):
            found[row] = tuple(symbols[k - 1] for k in phones.best_path(own[: steps.lengths[row]]))
    return found


def error_rate(predicted: Sequence[Sequence[str]], said: Sequence[Utterance], reading: Reading) -> float:
    """Edits over reference phones, both summed."""
    wrong = sum(phones.edits(h, reading.phones[u.id]) for h, u in zip(predicted, said, strict=True))
    return wrong / sum(len(reading.phones[u.id]) for u in said)


def _too_short(steps: Steps, said: Sequence[Utterance], reading: Reading) -> str:
    short = 0
    for u, length in zip(said, steps.lengths.tolist(), strict=True):
        spelled = reading.phones[u.id]
        repeats = sum(a == b for a, b in itertools.pairwise(spelled))  # need a blank between them
        short += length < len(spelled) + repeats
    return f"{short} of {len(said)} training utterances have fewer steps than phones"


def table(
    fold: Fold, tested: Sequence[Utterance], reading: Reading, predicted: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """One row an utterance: how many phones were said, how many edits away the prediction is, and both spelled out."""
    rows = []
    for u, found in zip(tested, predicted, strict=True):
        said = reading.phones[u.id]
        counts = {"phones": len(said), "edits": phones.edits(found, said)}
        rows.append(lines.row(u, fold.name) | counts | {"reference": " ".join(said), "heard": " ".join(found)})
    return rows


def report_of(
    corpus: Corpus,
    fold: Fold,
    task: Task,
    sides: dict[str, list[Utterance]],
    reading: Reading,
    rows: Sequence[dict[str, Any]],
    config: dict[str, Any],
) -> dict[str, Any]:
    """The report of the test part, as `evaluate` writes it for emotions."""
    said, wrong = (np.array([row[k] for row in rows]) for k in ("phones", "edits"))
    got = Answered(task, sides["test"], [fold.name] * len(rows), said, wrong)
    asked = sum(map(len, fold.sides.values()))
    kept = sum(map(len, sides.values()))
    words = few(list(reading.missing), SHOWN)
    probe = config["settings"].finetune
    return {
        "title": f"{corpus.name}: phones",
        **got.report(),
        "baselines": {"nothing heard": {"metrics": got.intervals(said)}},
        "examples": [{k: row[k] for k in ("id", "reference", "heard")} for row in rows[:SHOWN]],
        "protocol": {
            "first_line": lines.transductive(config["seen_test_speakers"]) or None,
            "parts": f"{fold.name}: " + ", ".join(f"{len(own)} {side}" for side, own in sides.items()) + " utterances",
            "head": f"frozen backbone: weighted sum of all layers, linear to {probe.project}, linear to "
            f"{len(task.classes)} phones and a blank at every step; CTC, greedy",
            "lexicon": f"{reading.lexicon}, the first pronunciation of a word",
            "words without an entry": f"{len(reading.missing)}{f' ({words})' if words else ''}; "
            f"{asked - kept} of {asked} utterances hold one, or have no transcript or features, and are left out",
            "initial weights": config.get("init", "none"),
            "model selection": "PER on dev (learning rate, update)",
            "test": "read once, by this command",
            "intervals": lines.intervals((u.speaker, u.session) for u in sides["test"]),
            "trainings": lines.trainings(1),
            "seed": config["seed"],
        },
        "config": config["settings"],
        "hardware": runs.hardware(),
        "made": runs.provenance(),
    }
