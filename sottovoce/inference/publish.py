"""A trained model as a folder that others can take: `sottovoce push`, `save_pretrained`, `load("user/name")`.

    config.json               settings, task, label map, licence, training data; nothing of the machine it was made on
    model.safetensors         all weights, those of the encoder too
    preprocessor_config.json  what is done to a recording first
    README.md                 the model card

The folder is a run, so every verb that takes a run takes it. Nothing of a download is executed: JSON and safetensors
are read, and a folder with a pickle in it is refused.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sottovoce import files
from sottovoce.config.finetuning import Frozen
from sottovoce.data import own, runs
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.inference import model_card
from sottovoce.modeling import hub, public_files
from sottovoce.modeling import network as models
from sottovoce.modeling.network import Recognised
from sottovoce.modeling.whisper_weights import DEFAULT

PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"}
NAMES = ("config.json", "model.safetensors", "preprocessor_config.json", "README.md")
KEPT = (
    *("kind", "format", "identity", "recipe", "fold", "settings", "features", "seen_speakers", "task", "labels"),
    *("of_labels", "seed", "transductive", "sources"),
)


@dataclass(frozen=True)
class Provenance:
    """What a model may not be published without.

    licence: an SPDX id, or the words of one ("CC-BY-NC-SA-4.0", "other: ..."), of the weights.
    data: what it was trained on, a line each, with its licence.
    """

    licence: str
    data: tuple[str, ...]
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.licence.strip():
            raise InputError(
                "licence: a model is not published without one. Found none. Name the licence of the weights, e.g. "
                "--licence CC-BY-NC-4.0; what the training data allow decides."
            )
        if not self.data or not all(line.strip() for line in self.data):
            raise InputError(
                "data: a model is not published without its training data. Found none. Name each corpus with its "
                "licence, e.g. --data 'RAVDESS (CC BY-NC-SA 4.0)'."
            )


def save(it: Recognised, folder: Path | str, told: Provenance, name: str = "") -> None:
    """Write the four files. Raises InputError when the folder holds anything but them, or cannot be written."""
    folder = Path(folder)
    if folder.exists():
        strangers = sorted(p.name for p in folder.iterdir() if p.name not in NAMES)
        if strangers:
            raise InputError(f"{folder}: not empty. Found {strangers[0]}. Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(it, told)
    scores = _scores(it.run.folder) if it.run else {}
    files.write_json(folder / "config.json", config)
    files.write_json(folder / "preprocessor_config.json", _preparation(it))
    files.write_text(folder / "README.md", model_card.card(name or folder.name, config, scores))
    models.save_recognised(folder, it)


def push(it: Recognised, folder: Path | str, name: str, told: Provenance, *, private: bool = False) -> str:
    """`save` into a folder, then upload it as `name` ("user/name"); returns where it is.

    Raises InputError: no such name can be, nobody is logged in (`hf auth login`), the hub does not answer or refuses.
    """
    check_name(name)
    library = public_files.library()
    if library.get_token() is None:
        raise InputError(
            f"{name}: uploading needs a login. Found no token of the hub here. Log in (hf auth login, or HF_TOKEN), or "
            "write the folder alone: --dry-run -o FOLDER."
        )
    save(it, folder, told, name)
    try:
        with public_files.silence():
            client = library.HfApi()
            client.create_repo(name, private=private, exist_ok=True)
            done = client.upload_folder(
                repo_id=name, folder_path=str(folder), allow_patterns=list(NAMES), commit_message="Model of Sottovoce"
            )
    except Exception as error:  # a network has many ways to fail
        raise InputError(
            f"{name}: cannot be uploaded. Found: {public_files.one_line(error)}. Go online, or log in as somebody who "
            "may write there (hf auth login)."
        ) from None
    return str(done.commit_url)


def check_name(name: str) -> None:
    if not public_files.is_name(name):
        raise InputError(f"{name}: not the name of a model on the hub. Give it as user/name.")


def found(name: str) -> Path:
    """The folder of a published model: one here, or the copy that the hub's client keeps of "user/name".

    Raises InputError: neither, no weights in safetensors, or a pickle beside them.
    """
    folder = Path(name)
    if not os.path.isdir(name):  # False too for a name that no disk could hold
        if not hub.is_public(name) or name == DEFAULT:
            there = "a file" if os.path.isfile(name) else "no such folder"
            raise InputError(
                f"{name}: no model. Found {there}. Name a folder that `sottovoce finetune` or `push` has written, "
                "user/name of the hub, or an exported model.onnx."
            )
        for wanted in NAMES[:2]:
            path = public_files.find(name, wanted)
            if path is None:
                raise InputError(
                    f"{name}: no {wanted}. Found a repository without it; pickled weights are never loaded. Ask its "
                    "owner for safetensors."
                )
            folder = path.parent
    check_folder(folder)
    if (folder / "config.json").is_file():
        check_labels(runs.Run.load(folder).config, folder)
    return folder


def check_folder(folder: Path) -> None:
    """Raises InputError for a folder with a pickle in it: whoever opens one runs what is inside."""
    pickles = sorted(p.name for p in folder.rglob("*") if p.suffix.lower() in PICKLED)
    if pickles:
        raise InputError(
            f"{folder}: a pickle in it. Found {pickles[0]}. Opening one runs what its author wrote, so models here are "
            "safetensors and JSON alone. Delete it, if the rest is to be used."
        )


def check_labels(config: Mapping[str, Any], where: Path) -> None:
    """Raises InputError where the label map is another one than the task's classes, which the weights belong to."""
    named, where = config.get("id2label"), where / "config.json"
    classes = Task.from_dict(config["task"], where).classes if "task" in config else ()
    if named is not None and named != {str(k): name for k, name in enumerate(classes)}:
        raise InputError(
            f"{where}: the label map does not fit. Found {named} and classes {list(classes)}. "
            "Take the model from its source again."
        )


def _config(it: Recognised, told: Provenance) -> dict[str, Any]:
    run = it.run.config if it.run else {}
    kept = {key: run[key] for key in KEPT if key in run}
    plan, classes = it.plan, it.task.classes
    if kept.get("sources") and isinstance(plan.finetune, Frozen):  # runs have folders for names
        kept["sources"] = [told | {key: Path(told[key]).name for key in ("name", "title")} for told in kept["sources"]]
        names = tuple(told["name"] for told in kept["sources"])
        plan = replace(plan, finetune=replace(plan.finetune, sources=names))
    return files.plain(
        {
            **{"kind": "finetune", "format": runs.FORMAT, "identity": "", "fold": "", "seed": 0, "labels": 0},
            **{"seen_speakers": []} | kept,
            "settings": plan,
            "task": it.task,
            "corpus": Path(str(run.get("corpus", ""))).name,
            "id2label": {str(k): name for k, name in enumerate(classes)},
            "label2id": {name: k for k, name in enumerate(classes)},
            "licence": told.licence,
            "training_data": list(told.data),
            "languages": list(told.languages),
            "made": {"versions": run.get("made", {}).get("versions", {})},
        }
    )


def _preparation(it: Recognised) -> dict[str, Any]:
    config = it.plan.track_config
    read = {"track": it.plan.track, "feature_size": len(it.statistics.mean), "frame_rate_hz": config.rate_hz}
    made = {"track_config": config, "frontend": it.plan.frontend}
    return files.plain({"feature_extractor_type": "sottovoce", "sampling_rate": 16_000} | read | made)


def _scores(folder: Path) -> dict[str, Any]:
    """Metrics of the evaluated run that a model is a fold of; none where it was not evaluated."""
    for place in (folder, folder.parent):
        if (place / "report.json").is_file():
            report = own.read_json(place / "report.json", dict[str, Any])
            return {"metrics": report.get("metrics", {}), "n": report.get("n"), "speakers": report.get("speakers")}
    return {}


def data_of(config: Mapping[str, Any], licences: Mapping[str, str]) -> tuple[str, ...]:
    """The corpora whose speakers a run has seen, a line each, where the licences of all are known; else ()."""
    corpora = sorted({str(name).partition("/")[0] for name in config.get("seen_speakers", ())})
    licences = {**licences, **{source["name"]: source["licence"] for source in config.get("sources", ())}}
    known = [f"{name} ({licences[name]})" for name in corpora if name in licences]
    return tuple(known) if len(known) == len(corpora) else ()


def lines(values: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(value.strip() for value in values or () if value.strip())
