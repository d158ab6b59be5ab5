"""`sottovoce export`: a trained model as one ONNX file that runs without PyTorch."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sottovoce.errors import InputError, say

MANY = 16  # recordings to compare


def main(
    model: Annotated[
        Path | None,
        typer.Argument(help="folder written by `sottovoce finetune`, one fold of it (default: the package's model)"),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="the file to write")] = Path("model.onnx"),
    int8: Annotated[bool, typer.Option("--int8", help="the encoder in 8 bits: a third of the size, faster")] = False,
    recordings: Annotated[
        list[Path] | None,
        typer.Option("--recordings", help="to compare with PyTorch (default: the model's corpus, or generated voices)"),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="largest difference of an answer, 0 = 0.001, with --int8 0.1", min=0)
    ] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no table")] = False,
) -> None:
    """The whole model in one file: front end, encoder, classifier, labels, calibration; compared with PyTorch.

    Example: sottovoce export runs/ft/fold1 -o model.onnx --int8
    """
    from sottovoce import files
    from sottovoce.commands import _tables
    from sottovoce.data import audio, runs
    from sottovoce.data.recordings import audio_files
    from sottovoce.inference.recogniser import DEFAULT_MODEL
    from sottovoce.modeling import network as models
    from sottovoce.onnx.export import export

    model = model or DEFAULT_MODEL
    if output.suffix != ".onnx":
        raise InputError(f"{output}: an exported model ends in .onnx. Found {output.suffix or 'no suffix'}.")
    found = [models.load_recognised(run) for run in runs.parts(model, "finetune")]
    if len(found) > 1:
        raise InputError(f"{model}: {len(found)} folds, and a file holds one model. Name one, e.g. {model}/fold1.")
    files.check_ours(output)
    names = list(audio_files(recordings)) if recordings else _own(found[0].run)
    waves = [audio.read(path).values for path in names] or _voices()
    compared = export(found[0], output, waves, int8=int8, tolerance=tolerance)
    if not quiet:
        rows = [[c.name, str(c.many), f"{c.difference:.1e}", f"{c.agree:.0%}"] for c in compared]
        _tables.plain(["beside PyTorch", "inputs", "largest difference", "same label"], rows)
        task = found[0].task
        say(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {', '.join(task.classes or task.target)}")


def _own(run: Any) -> list[Path]:
    """A few recordings of the corpus that a model was trained on, where they are still there."""
    from sottovoce.data import archives
    from sottovoce.data.corpus import Corpus

    try:
        corpus = Corpus.load(run.config["corpus"])
    except InputError:
        return []
    paths = [corpus.root / u.path for u in corpus.utterances[:: max(len(corpus.utterances) // MANY, 1)] if u.path]
    return [path for path in paths if archives.is_file(path)]


def _voices() -> list[Any]:
    """Generated speech."""
    from sottovoce.corpora import synthetic

    return [wave.values for _, wave, _ in synthetic.generate(speakers=2, per_speaker=MANY // 2, seconds=(1.0, 6.0))]
