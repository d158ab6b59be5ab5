"""`sottovoce demo`: the whole way in minutes, on a generated corpus or on your own, ending in pages to look at.

Short trainings: it shows the way, not what a method can do. docs/results.md has figures worth quoting.
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from sottovoce import files, plugins
from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import predict as predict_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.commands import study as study_command
from sottovoce.errors import InputError

# Readers that know their corpus by its file names, surest first; `folder` takes any class-per-folder tree.
READERS = ("ravdess", "cremad", "emodb", "nemo", "iemocap", "esd", "tess", "savee", "mfn", "mosei", "mosi", "folder")


def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="everything goes here")] = Path("demo"),
    data: Annotated[Path | None, typer.Option(help="folder of a labelled corpus; default: a generated one")] = None,
    corpus: Annotated[
        str, typer.Option(help="its reader, see `sottovoce list corpora`; default: found by file names")
    ] = "",
    epochs: Annotated[int, typer.Option(help="of pre-training", min=1)] = 12,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")] = False,
) -> None:
    """Prepare, pre-train, fine-tune, evaluate, study, predict: one fold, two seeds, a few minutes on 2 cores."""
    from sottovoce import report
    from sottovoce.data import runs
    from sottovoce.data.corpus import Corpus
    from sottovoce.pipeline import prepare

    started = time.monotonic()
    name = "synthetic" if data is None else corpus or recognise(data)
    home = output / name  # a folder a corpus: a second demo disturbs no first
    prepared, pre, tuned, curve = home / "data", home / "runs/pre", home / "runs/ft", home / "runs/study"

    def say(text: str) -> None:
        typer.echo(f"\n[{time.monotonic() - started:4.0f} s] {text}")

    say("prepare: manifest, speaker-disjoint folds, data report")
    if data is None:
        data = home / "audio"
        options = {"speakers": 16, "per_speaker": 25, "unlabelled_speakers": 16}
        prepare.prepare(name, data, prepared, options=options, quiet=quiet)
    else:
        prepare.prepare(name, data, prepared, quiet=quiet)
    say(f"pretrain: {name}, without labels, without the test speakers")
    settings = [f"training.epochs={epochs}"]
    pretrain_command.main("masked_timesteps", [prepared], pre, settings=settings, quiet=quiet)
    say("finetune: a classifier on the default encoder")
    finetune_command.main(prepared, tuned, quiet=quiet)
    say("evaluate: test speakers, intervals, baselines")
    evaluate_command.main(tuned, quiet=quiet)
    say("study: pre-trained against the identical backbone from scratch, as labels grow")
    study_command.main(prepared, curve, init=str(pre), labels="5%,20%,100%", seeds=2, quiet=quiet)
    loaded = Corpus.load(prepared)
    pages = [
        {"title": "The data", "href": "data/report.html", "summary": "counts, durations, problems, folds"},
        {
            "title": "Pre-training",
            "href": f"runs/pre/{loaded.folds[0].name}/report.html",
            "summary": "losses and reconstructions",
        },
        {"title": "Evaluation", "href": "runs/ft/report.html", "summary": "scores on unseen speakers and of baselines"},
        {"title": "Labels saved", "href": "runs/study/report.html", "summary": "pre-trained against scratch"},
    ]
    if not loaded.info.get("tracks"):
        say("predict: emotion over time in a test recording")
        clip = loaded.by_id[loaded.folds[0].test[0]]
        predict_command.main(
            tuned, [loaded.root / clip.path], timeline=True, window=1.0, hop=0.25, output=home / "prediction.csv"
        )
        stem = Path(clip.path).stem
        pages.append(
            {"title": "Prediction", "href": f"prediction/{stem}.html", "summary": f"{stem}, emotion over time"}
        )
    files.write_json(home / "pages.json", pages)
    every = []
    for made in sorted(output.glob("*/pages.json"), key=lambda path: (path.parent != home, path)):
        where = made.parent.name
        every += [
            page | {"href": f"{where}/{page['href']}", "title": f"{where}: {page['title']}"}
            for page in files.read_json(made)
        ]
    files.write_text(output / "index.html", report.index_page(f"Sottovoce on {name}", every))
    report.link_pages(output / "index.html", every)
    say(f"done on {runs.hardware()}. Open {output / 'index.html'}")


def recognise(folder: Path) -> str:
    """The first reader that finds its corpus in a folder. Raises InputError when none does."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Name one that holds a labelled corpus.")
    for name in READERS:
        try:
            if plugins.load("corpora", name).utterances(folder):
                return name
        except InputError:
            continue
    raise InputError(f"{folder}: no corpus recognised. Tried {', '.join(READERS)}. Name its reader with --corpus.")
