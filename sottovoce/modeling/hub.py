"""Public encoders as runs: a folder in the layout of `transformers`, an id of the Hugging Face hub, or "default".

`--init` takes them wherever it takes a run folder. Nothing but safetensors and JSON is read of them. Such a run has
seen nobody we know of: whose voices are in a public checkpoint, its model card says.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from sottovoce import files
from sottovoce.backbones import encoder, whisper
from sottovoce.config import recipe
from sottovoce.config.finetuning import Frozen
from sottovoce.config.recipe import Recipe
from sottovoce.data import runs
from sottovoce.data.audio import RATE_HZ
from sottovoce.data.folds import NO_HOLDOUT
from sottovoce.data.runs import Run
from sottovoce.errors import InputError
from sottovoce.modeling import public_files, whisper_weights
from sottovoce.modeling.whisper_weights import DEFAULT

RECIPE = "hubert"  # whose settings a public encoder comes with
# What of a checkpoint's configuration decides its weights and what they compute.
ARCHITECTURE = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps"),
    *("conv_dim", "conv_stride", "conv_kernel", "conv_bias", "feat_extract_norm", "feat_extract_activation"),
    *("feat_proj_layer_norm", "do_stable_layer_norm", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups"),
    *("conv_pos_kernel_size", "conv_pos_batch_norm", "num_buckets", "max_bucket_distance", "adapter_attn_dim"),
)


def parts(init: str) -> list[Run]:
    """The pre-trained runs that `--init` names: those in a folder, or a public encoder as the only one.

    Raises InputError when there is neither.
    """
    return [_public(init)] if is_public(init) else runs.parts(init, "pretrain")


def load(init: str) -> Run:
    """The one run in a folder, or a public encoder."""
    return _public(init) if is_public(init) else Run.load(init)


def is_public(init: str) -> bool:
    """Whether this is the default encoder, a folder in transformers' layout or an id of the hub, and no run folder or a
    slip in its name."""
    folder = Path(init)
    if init == DEFAULT:
        return True
    if os.path.isdir(init):
        found = files.read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
        return isinstance(found, dict) and "model_type" in found
    return public_files.is_name(init) and not Path(init).parent.exists()


def _public(init: str) -> Run:
    if init == DEFAULT:
        card = whisper_weights.default_card()
        return _whisper(init, whisper_weights.default_config(card), [card["sha256"]], card["layers"])
    path = public_files.find(init, "config.json")
    if path is None:
        raise InputError(f"{init}: neither run nor encoder. Found no config.json. Check the name.")
    told = files.read_json(path)
    if isinstance(told, dict) and told.get("model_type") == "whisper":
        _check_rate(init)
        config = whisper_weights.public_config(init, told)
        return _whisper(init, config, whisper_weights.public_version(init), middle(config.layers))
    found = _read(init, lambda auto, **how: auto.AutoConfig.from_pretrained(init, **how))
    if found.model_type not in encoder.FAMILIES:
        raise InputError(
            f"{init}: not a speech encoder known here. Found model_type {found.model_type!r}. "
            f"There are: {', '.join(encoder.FAMILIES)}, whisper."
        )
    prepared = _check_rate(init)
    architecture = found.to_dict()
    shape = {key: architecture[key] for key in ARCHITECTURE if architecture.get(key) is not None}
    if shape.get("conv_pos_batch_norm") or architecture.get("add_adapter"):
        raise InputError(f"{init}: batch normalisation or an adapter inside. Found one of them; neither is known here.")
    settings = recipe.resolve(RECIPE)
    # what others report of a checkpoint is of whole recordings
    settings = replace(settings, frontend=replace(settings.frontend, trim_db=0.0))
    built = encoder.Config(
        family=found.model_type,
        size="base",
        architecture=shape,
        normalise=bool(prepared.get("do_normalize", bool(prepared))),
    )
    version = whisper_weights.public_version(init)
    if architecture.get("do_stable_layer_norm"):
        version = [*version, "normalised after the last block alone"]  # states that earlier versions gave are others
    return _run(init, replace(settings, backbone_config=built), 1, version, middle(shape["num_hidden_layers"]))


def _whisper(init: str, config: whisper.Config, version: list[str], layers: list[int]) -> Run:
    settings = recipe.resolve(RECIPE, track="logmel", settings=[f"track.bins={config.bins}"])
    settings = replace(
        settings,
        finetune=Frozen(
            layers=tuple(layers),
            temporal_pooling="speech" if config.speech else "statistics",
            l2=(0.5, 0.1, 2.0),
            copies=2,
            gate=True,
            discriminant=0.5,
            refit=True,
            self_training=1.0,
        ),
    )
    return _run(init, replace(settings, backbone_config=config), config.bins, version, layers)


def middle(blocks: int) -> list[int]:
    """The layers to begin with, by default: three in the middle of so many blocks."""
    centre = (blocks + 1) // 2
    return [k for k in range(centre - 1, centre + 2) if 1 <= k <= blocks]


def _run(init: str, settings: Recipe, features: int, version: list[str], layers: list[int]) -> Run:
    """`layers`: the default ones."""
    plan = files.plain(settings)
    config = {
        "kind": "pretrain",
        "encoder": init,
        "identity": files.digest({"encoder": plan["backbone_config"], "version": version}),
        "recipe": RECIPE,
        "fold": NO_HOLDOUT,
        "settings": plan,
        "features": features,
        "seen_speakers": [],
        "layers": layers,
    }
    return Run(Path(init), config)


def _check_rate(init: str) -> dict[str, Any]:
    """What its feature extractor does: preprocessor_config.json or, as transformers 5 writes it, a part of
    processor_config.json; {} where there is neither. A key that is not there has transformers' default.

    Raises InputError: made for another rate than ours.
    """
    path = public_files.find(init, "preprocessor_config.json")
    found = files.read_json(path) if path else {}
    if not path and (path := public_files.find(init, "processor_config.json")):
        whole = files.read_json(path)
        found = whole.get("feature_extractor", {}) if isinstance(whole, dict) else whole
    if not isinstance(found, dict) or found.get("sampling_rate", RATE_HZ) != RATE_HZ:
        rate = found.get("sampling_rate") if isinstance(found, dict) else found
        raise InputError(f"{init}: an encoder for {rate} Hz. Everything here is at {RATE_HZ} Hz.")
    return found


def backbone(run: Run, upto: int | None = None) -> nn.Module:
    """The backbone of a public encoder with its weights.

    Args:
        upto: the last block that is wanted; of Whisper, those above are not even read. None: all.

    Raises:
        InputError: no safetensors, not all that this architecture needs, damaged ones, or no such block.
    """
    init = run.config["encoder"]
    config = recipe.from_dict(run.config["settings"], init).backbone_config
    blocks = config.layers if isinstance(config, whisper.Config) else config.resolved().num_hidden_layers
    upto = blocks if upto is None else upto
    if not 0 <= upto <= blocks:
        raise InputError(f"{init}: no layer {upto}. Found {blocks} blocks. Name one of 1 to {blocks}.")
    if isinstance(config, whisper.Config):
        if init == DEFAULT:
            tensors = whisper_weights.default_tensors(whisper_weights.default_card(), config, upto)
        else:
            tensors = whisper_weights.public_tensors(init, config, upto)
        with torch.device("meta"):  # numbers that would be thrown away
            made = whisper.Backbone(config, config.bins)
        made.blocks = made.blocks[:upto]
        made.load_state_dict(tensors, assign=True)
        return made
    model, found = _read(
        init,
        lambda auto, **how: auto.AutoModel.from_pretrained(init, use_safetensors=True, output_loading_info=True, **how),
    )
    lost = sorted(set(found["missing_keys"]) - {"masked_spec_embed"})
    if lost:
        raise InputError(f"{init}: weights are missing. Found no {lost[0]} and {len(lost) - 1} others. Get it again.")
    model.float()  # half precision is for keeping
    if broken := next((name for name, value in model.named_parameters() if not value.isfinite().all()), ""):
        raise InputError(f"{init}: corrupt weights. Found NaN or infinite values in {broken}. Get it again.")
    made = encoder.Backbone(config, 1, model)
    made.blocks = made.blocks[:upto]
    return made


def _read(init: str, how: Any) -> Any:
    """`how(transformers)`, its exceptions as one line and its chatter as silence; a hub that does not answer is left
    alone."""
    transformers = encoder.library()
    from huggingface_hub.errors import StrictDataclassError

    local = not Path(init).is_dir() and bool(public_files.unreachable(init))
    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with public_files.silence():
            return how(transformers, local_files_only=local)
    except (OSError, ValueError, RuntimeError, StrictDataclassError, SafetensorError) as error:
        if Path(init).is_dir():
            why = "It needs a good config.json and safetensors; pickled weights (.bin) are never loaded"
        else:
            why = "No such folder here, and no checkpoint in safetensors on the hub"
        raise InputError(f"{init}: neither run nor encoder. {why}. Found: {public_files.one_line(error)}") from None
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()
