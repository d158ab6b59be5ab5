"""Public encoders as runs: a folder in the layout of `transformers`, or an id of the Hugging Face hub.

`--init` takes them wherever it takes a run folder. Nothing but safetensors and JSON is read of them. Such a run has
heard nobody we know of: whose voices are in a public checkpoint is for its model card to say.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from sottovoce import files, plugins
from sottovoce.backbones import encoder
from sottovoce.config import recipe
from sottovoce.data import runs
from sottovoce.data.runs import Run
from sottovoce.errors import InputError

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
    """Whether this is a folder in transformers' layout or an id of the hub, and no run folder or a slip in its name."""
    folder = Path(init)
    if folder.is_dir():
        found = files.read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
        return isinstance(found, dict) and "model_type" in found
    owner, slash, name = init.partition("/")
    return bool(slash and owner and name) and "/" not in name and not Path(owner).exists()


def _public(init: str) -> Run:
    found = _read(init, lambda auto, where: auto.AutoConfig.from_pretrained(where))
    if found.model_type not in encoder.FAMILIES:
        raise InputError(
            f"{init}: not a speech encoder known here. Found model_type {found.model_type!r}. "
            f"There are: {', '.join(encoder.FAMILIES)}."
        )
    prepared = _preprocessor(init)
    if prepared.get("sampling_rate", 16_000) != 16_000:
        raise InputError(f"{init}: an encoder for {prepared['sampling_rate']} Hz. Everything here is at 16000 Hz.")
    shape = {key: getattr(found, key) for key in ARCHITECTURE if getattr(found, key, None) is not None}
    if shape.get("conv_pos_batch_norm") or getattr(found, "add_adapter", False):
        raise InputError(f"{init}: batch normalisation or an adapter inside. Found one of them; neither is known here.")
    settings = recipe.resolve(RECIPE)
    # what others report of a checkpoint is of whole recordings
    settings = replace(settings, frontend=replace(settings.frontend, trim_db=0.0))
    backbone = plugins.load("backbones", "encoder").Config(
        family=found.model_type, size="base", architecture=shape, normalise=bool(prepared.get("do_normalize", False))
    )
    plan = files.plain(settings) | {"backbone": "encoder", "backbone_config": files.plain(backbone)}
    folder = Path(init)
    version = [files.file_digest(p) for p in sorted(folder.glob("*.safetensors"))]
    version = version or [str(getattr(found, "_commit_hash", ""))]
    config = {
        "kind": "pretrain",
        "encoder": init,
        "identity": files.digest({"encoder": plan["backbone_config"], "version": version}),
        "recipe": RECIPE,
        "fold": "everybody",
        "settings": plan,
        "features": 1,
        "exposure": [],
    }
    return Run(folder, config)


def _preprocessor(init: str) -> dict[str, Any]:
    """preprocessor_config.json, {} where there is none."""
    from transformers.utils import cached_file

    path = cached_file(init, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    return files.read_json(path) if path else {}


def backbone(run: Run) -> nn.Module:
    """The backbone of a public encoder with its weights.

    Raises InputError when there are no safetensors, or not all that this architecture needs.
    """
    init = run.config["encoder"]
    model, found = _read(
        init, lambda auto, where: auto.AutoModel.from_pretrained(where, use_safetensors=True, output_loading_info=True)
    )
    lost = sorted(set(found["missing_keys"]) - {"masked_spec_embed"})
    if lost:
        raise InputError(f"{init}: weights are missing. Found no {lost[0]} and {len(lost) - 1} others. Get it again.")
    config = recipe.from_dict(run.config["settings"], init).backbone_config
    return encoder.Backbone(config, 1, model)


def _read(init: str, how: Any) -> Any:
    """`how(transformers, init)`, its many exceptions as one line and its chatter as silence."""
    transformers = encoder.library()
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import StrictDataclassError
    from huggingface_hub.utils import logging as hub
    from safetensors import SafetensorError

    loud = [(module, module.get_verbosity()) for module in (transformers.logging, hub)]
    for module, _ in loud:
        module.set_verbosity_error()
    try:
        return how(transformers, init)
    except (OSError, ValueError, RuntimeError, StrictDataclassError, SafetensorError) as error:
        if Path(init).is_dir():
            why = "It needs a good config.json and safetensors; pickled weights (.bin) are never loaded"
        elif is_offline_mode():
            why = f"No such folder here, and the hub is switched off (HF_HUB_OFFLINE). Elsewhere: hf download {init}"
        else:
            why = "No such folder here, and no checkpoint in safetensors on the hub"
        found = " ".join(str(error).split())[:300]
        raise InputError(f"{init}: neither run nor encoder. {why}. Found: {found}") from None
    finally:
        for module, level in loud:
            module.set_verbosity(level)
