"""`sottovoce push`: a trained model, with its card, to the Hugging Face hub or into a folder of that layout."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options
from sottovoce.errors import InputError, say


def main(
    model: _options.OneRun,
    name: Annotated[str, typer.Argument(help="user/name on the hub")],
    licence: Annotated[
        str, typer.Option(help="of the weights, e.g. CC-BY-NC-4.0; needed, unless the model has one")
    ] = "",
    data: Annotated[
        list[str] | None,
        typer.Option(help="a training corpus with its licence; several times (default: where the run knows them)"),
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="of the data, e.g. en; several times")] = None,
    folder: Annotated[Path | None, typer.Option("-o", "--output", help="keep the folder here too")] = None,
    private: Annotated[bool, typer.Option("--private", help="nobody else sees it")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write the folder (-o), upload nothing")] = False,
) -> None:
    """config.json, model.safetensors, preprocessor_config.json and a model card; licence and data are mandatory.

    Example: sottovoce push runs/ft/fold1 anna/calm-voices --licence CC-BY-NC-SA-4.0 --data "RAVDESS (CC BY-NC-SA 4.0)"
    """
    from sottovoce import plugins
    from sottovoce.data import runs
    from sottovoce.inference import publish
    from sottovoce.modeling import network as models

    publish.check_name(name)
    found = runs.parts(model, "finetune")
    if len(found) > 1:
        raise InputError(
            f"{model}: {len(found)} folds, and a published model is one. Name one, e.g. {found[0].folder}."
        )
    if dry_run and folder is None:
        raise InputError("--dry-run: writes the folder and uploads nothing. Found no -o. Name the folder.")
    licences = {corpus: plugins.load("corpora", corpus).LICENCE for corpus in plugins.names("corpora")}
    licences = {corpus: said for corpus, said in licences.items() if not said.startswith(("unknown", "see "))}
    config = found[0].config  # of one that was published: with what was told then
    known = publish.lines(data) or tuple(config.get("training_data", ())) or publish.data_of(config, licences)
    spoken = publish.lines(language) or tuple(config.get("languages", ()))
    told = publish.Provenance(licence.strip() or config.get("licence", ""), known, spoken)
    it = models.load_recognised(found[0])
    if dry_run and folder is not None:
        publish.save(it, folder, told, name)
        say(f"{folder}: what would be uploaded as {name}")
        return
    with tempfile.TemporaryDirectory(prefix="sottovoce-") as place:
        say(publish.push(it, folder or Path(place) / "model", name, told, private=private))
