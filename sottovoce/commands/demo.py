"""`sottovoce demo`: the whole way in minutes, on a generated corpus or on your own, ending in pages to look at.

Short trainings: it shows the way, not what a method can do. docs/results.md has figures worth quoting.
"""

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sottovoce import files, plugins
from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import predict as predict_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.commands import study as study_command
from sottovoce.errors import InputError, say

ENOUGH = 8  # test speakers, to compare methods
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
    """What few labels give, emotion over time, evaluation, own pre-training: one fold, a few minutes on 2 cores."""
    from sottovoce import report
    from sottovoce.data import runs
    from sottovoce.data.corpus import Corpus
    from sottovoce.pipeline import prepare

    started = time.monotonic()
    name = "synthetic" if data is None else corpus or recognise(data)
    home = own_folder(output, name, data)
    prepared, tuned, few = home / "data", home / "runs/ft", home / "runs/few"
    pre, curve = home / f"runs/pre{epochs}", home / f"runs/study{epochs}"  # other epochs are other runs

    def step(text: str) -> None:
        print()
        say(f"[{time.monotonic() - started:4.0f} s] {text}")

    step("prepare: manifest, speaker-disjoint folds, data report")
    made = {} if data else {"speakers": 16, "per_speaker": 25, "unlabelled_speakers": 16}
    prepare.prepare(name, data or home / "audio", prepared, options=made, quiet=quiet)
    loaded, pages = Corpus.load(prepared), []
    recordings = not loaded.info.get("tracks")
    if recordings:
        step("few labels: how good is a classifier on the default encoder with 5 %, 20 %, all of them?")
        study_command.main(prepared, few, init="default", labels="5%,20%,100%", arms="probe", seeds=2, quiet=quiet)
        points = files.read_json(few / "study.json")["arms"]["probe"]
        said = "UA " + ", ".join(f"{point['value']:.2f} with {point['n']}" for point in points) + " labels"
        told = "score on unseen speakers as labels grow"
        pages.append(page("Few labels", "runs/few/report.html", told, result=said, figure="runs/few/study.svg"))
    step("finetune: a classifier on the default encoder, all labels")
    finetune_command.main(prepared, tuned, quiet=quiet)
    if recordings:
        step("predict: emotion over time in a test recording, to listen to")
        clip = loaded.by_id[loaded.folds[0].test[0]]
        predict_command.main(
            [loaded.root / clip.path], str(tuned), timeline=True, window=1.0, output=home / "prediction.csv"
        )
        stem = Path(clip.path).stem
        at, told = f"prediction/{stem}", f"{stem}, a test recording: {loaded.root / clip.path}"
        said = files.read_json(home / f"{at}.json").get("label") or ""
        pages.append(page("Emotion over time", f"{at}.html", told, result=said, figure=f"{at}.svg"))
    step("evaluate: test speakers, intervals, baselines")
    evaluate_command.main(tuned, quiet=quiet)
    said, told = files.read_json(tuned / "report.json")["metrics"], "scores on unseen speakers and of baselines"
    pages.append(page("Evaluation", "runs/ft/report.html", told, result=headline(said)))
    step(f"pretrain: a small network of its own on {name}, without labels, without the test speakers")
    settings = [f"training.epochs={epochs}"]
    pretrain_command.main("masked_timesteps", [prepared], pre, settings=settings, quiet=quiet)
    step("study: what that bought, against the identical network from scratch")
    study_command.main(prepared, curve, init=str(pre), labels="5%,20%,100%", seeds=2, tune="none", quiet=quiet)
    first = loaded.folds[0]
    pages += [
        page("Labels saved", f"runs/{curve.name}/report.html", "own pre-training against scratch"),
        page("Pre-training", f"runs/{pre.name}/{first.name}/report.html", "losses and reconstructions"),
        page("The data", "data/report.html", "counts, durations, problems, folds"),
    ]
    if (people := len({loaded.by_id[k].speaker for k in first.test})) < ENOUGH:
        said = "enough to see that it works, not which of two methods is better"
        say(f"{people} test speaker{'s' * (people > 1)}: {said}.")
    files.write_json(home / "pages.json", pages)
    every = [
        it
        | {"href": f"{there.parent.name}/{it['href']}", "title": f"{there.parent.name}: {it['title']}"}
        | {"picture": report.embedded(there.parent / it["figure"]) if it.get("figure") else ""}
        for there in sorted(output.glob("*/pages.json"), key=lambda path: (path.parent != home, path))
        for it in files.read_json(there)
    ]
    files.write_text(output / "index.html", report.index_page(f"Sottovoce on {name}", every))
    report.link_pages(output / "index.html", every)
    step(f"done on {runs.hardware()}. Open {output / 'index.html'}")


def page(title: str, href: str, summary: str, **shown: str) -> dict[str, str]:
    """What the index says of a page; shown with it: `result` in words, and a `figure`."""
    return {"title": title, "href": href, "summary": summary, **shown}


def headline(scores: Mapping[str, Any]) -> str:
    """ "UA 0.775 [0.732, 0.814]", of the first main score there is."""
    from sottovoce.evaluation import lines

    name = next(key for key in ("ua", "ccc", "mae") if key in scores)
    return f"{name.upper()} {lines.score(scores[name])}"


def own_folder(output: Path, name: str, data: Path | None) -> Path:
    """A folder a corpus, so that a second demo disturbs no first: NAME, or NAME-2 where NAME holds another one."""
    homes = (output / (name if k == 1 else f"{name}-{k}") for k in itertools.count(1))

    def ours(known: Path) -> bool:
        return data is None or not known.exists() or files.read_json(known).get("root") == str(data.resolve())

    return next(home for home in homes if ours(home / "data/corpus.json"))


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
