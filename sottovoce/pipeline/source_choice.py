"""Which layers of other corpora a fine-tuning begins with: those that are asked for, fit, and know nobody of its own.

See `sottovoce.modeling.source_layers` for what they are.
"""

from collections.abc import Sequence
from dataclasses import replace

from sottovoce.config.finetuning import Frozen
from sottovoce.config.recipe import Recipe
from sottovoce.config.settings import words
from sottovoce.data.corpus import Corpus
from sottovoce.data.runs import Run
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import source_layers, whisper_weights

COMMON = 2  # classes that a corpus and a source have, for the source to say what tells them apart


def sources_of(plan: Recipe) -> tuple[str, ...]:
    return plan.finetune.sources if isinstance(plan.finetune, Frozen) else ()


def begun_with(plan: Recipe, names: str, init: str) -> Recipe:
    """The plan with the sources that are named, with commas; "" those for any use on the default encoder, "none" none.

    Raises InputError for a source that there is not, and for sources in another mode than "frozen".
    """
    settings = plan.finetune
    if not isinstance(settings, Frozen):
        if names not in ("", "none"):
            raise InputError(f"--sources {names}: of mode frozen. Found mode {settings.mode}. Leave it out.")
        return plan
    chosen = words(names) if names else settings.sources
    if not chosen and not names and init == whisper_weights.DEFAULT:
        chosen = source_layers.free()
    chosen = () if names == "none" else tuple(chosen)
    source_layers.named(chosen)
    return replace(plan, finetune=replace(settings, sources=chosen))


def with_sources(plan: Recipe, task: Task, corpora: Sequence[Corpus], init: Run | None) -> tuple[Recipe, str]:
    """The plan without the sources that cannot help here, and what to say of those, and of licences that bind.

    Raises InputError for a source that there is not.
    """
    settings = plan.finetune
    if not isinstance(settings, Frozen) or not settings.sources:
        return plan, ""
    asked = source_layers.named(settings.sources)
    shipped = init is not None and init.config.get("encoder") == whisper_weights.DEFAULT
    fitting = shipped and source_layers.fits(settings) and task.kind == "class"
    alike = [s for s in asked if fitting and len(set(s.classes) & set(task.classes)) >= COMMON]
    kept = source_layers.unheard(alike, corpora)
    reasons = {
        "it fits emotions that are called alike, and what the default encoder pools": [
            s.title for s in asked if s not in alike
        ],
        "it has heard recordings of this corpus": [s.title for s in alike if s not in kept],
    }
    said = [f"The layer of {' and of '.join(t)} is left out: {why}." for why, t in reasons.items() if t]
    if bound := [f"{s.title} ({s.licence})" for s in kept if not s.free]:
        said.append(f"Not for commercial use, as it stands on labels of {', '.join(bound)}.")
    return replace(plan, finetune=replace(settings, sources=tuple(s.name for s in kept))), " ".join(said)
