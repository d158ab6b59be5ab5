"""A recipe: every setting of one system, nested so that `--set objective.span=9` reaches each of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from sottovoce import plugins
from sottovoce.config import explain, finetuning, settings
from sottovoce.config.finetuning import FineTuning, Full
from sottovoce.config.frontend import Frontend
from sottovoce.config.training import Training
from sottovoce.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """What `sottovoce pretrain NAME` and all that follows need to know, except the data."""

    name: str
    track: str  # name in `tracks/`
    backbone: str  # name in `backbones/`
    objective: str  # name in `objectives/`
    track_config: Any  # `tracks.<track>.Config`
    frontend: Frontend
    backbone_config: Any  # `backbones.<backbone>.Config`
    objective_config: Any  # `objectives.<objective>.Config`
    training: Training = field(default_factory=Training)  # pre-training
    finetune: FineTuning = field(default_factory=Full)

    @classmethod
    def of(
        cls,
        name: str,
        track: str,
        backbone: str,
        objective: str,
        *,
        of_track: Mapping[str, Any] | None = None,
        of_backbone: Mapping[str, Any] | None = None,
        of_objective: Mapping[str, Any] | None = None,
        **parts: Any,
    ) -> "Recipe":
        """With what of the settings of the three nouns differs from their defaults."""
        return cls(
            name, track, backbone, objective, **parts,
            track_config=plugins.load("tracks", track).Config(**(of_track or {})),
            backbone_config=plugins.load("backbones", backbone).Config(**(of_backbone or {})),
            objective_config=plugins.load("objectives", objective).Config(**(of_objective or {})),
        )  # fmt: skip

    def frontend_rate_hz(self) -> float:
        """Frames a second that the backbone is given, by the track's own settings."""
        return self.track_config.rate_hz / self.frontend.subsampling

    @property
    def per_speaker(self) -> bool:
        """Whether anything is standardised by each speaker's own recordings, test speakers' included."""
        return self.frontend.normalise == "speaker" or self.finetune.embedding_norm == "speaker"


class Prepared(Protocol):
    """What is needed of `sottovoce.data.corpus.Corpus`: whether it brings encoded features along."""

    @property
    def folder(self) -> Path: ...
    @property
    def info(self) -> dict[str, Any]: ...


def resolve(
    name: str,
    corpora: Sequence[Prepared] = (),
    *,
    track: str = "",
    backbone: str = "",
    objective: str = "",
    settings: Sequence[str] = (),
    seed: int | None = 0,
    config: Path | None = None,
) -> Recipe:
    """The recipe of a name, on a track the corpora have, with another backbone, objective and single settings if asked.

    Args:
        config: a file of settings, which come before single ones.
        seed: of both trainings; None = as `config` says.

    Raises InputError for unknown names and keys, for a protocol or a system, and for corpora that share no track.
    """
    tree = explain.read(config) if config else {}
    track = track or str(tree.get("track", "")) or common_track(corpora)
    backbone = backbone or str(tree.get("backbone", ""))
    objective = objective or str(tree.get("objective", ""))
    if is_protocol(name):
        raise InputError(
            f"{name}: judges weights and makes none. It is a protocol: `sottovoce finetune --recipe {name}`."
        )
    module = plugins.load("recipes", name)
    if not hasattr(module, "recipe"):
        raise InputError(f"{name}: a system of several steps. Run it with `sottovoce run {name}`.")
    plan = module.recipe(track or None)
    if backbone and backbone != plan.backbone:
        plan = replace(plan, backbone=backbone, backbone_config=plugins.load("backbones", backbone).Config())
    if objective and objective != plan.objective:
        plan = replace(plan, objective=objective, objective_config=plugins.load("objectives", objective).Config())
        plan = replace(plan, name=f"{plan.name}-{objective}")
    plan = override(configured(plan, tree, config) if config else plan, settings)
    plan = replace(plan, track_config=settled(plan.track, plan.track_config))
    return plan if seed is None and config else seeded(plan, seed or 0)


def settled(track: str, config: Any, *, again: bool = False) -> Any:
    """A track's settings with what only its maker knows filled in, such as which encoder "default" is today; `again`
    where they were and have been changed."""
    settle = plugins.track_parts(track).get("settle")
    return settle(config, again=again) if settle else config


def is_protocol(name: str) -> bool:
    """Whether a recipe is a way to judge weights (`protocol(plan) -> Recipe`) and not a system (`recipe(track)`)."""
    return bool(name) and hasattr(plugins.load("recipes", name), "protocol")


def judged(plan: Recipe, protocol: str) -> Recipe:
    """The same system, fine-tuned as a protocol says."""
    return plugins.load("recipes", protocol).protocol(plan)


def seeded(plan: Recipe, seed: int) -> Recipe:
    """The same settings with another seed for both trainings."""
    return replace(plan, training=replace(plan.training, seed=seed), finetune=finetuning.seeded(plan.finetune, seed))


def at_frame_rate(plan: Recipe, rate_hz: float) -> Recipe:
    """A track slower than 10 Hz is not pooled: its frames are words or segments already."""
    if rate_hz >= 10:
        return plan
    longer = plan.frontend_rate_hz() / rate_hz  # a batch and a crop keep their numbers of frames

    def slowed(training: Training) -> Training:
        return replace(training, batch_s=training.batch_s * longer, crop_s=training.crop_s * longer)

    tuning = plan.finetune
    if isinstance(tuning, Full):
        tuning = replace(tuning, training=slowed(tuning.training))
    front = replace(plan.frontend, subsampling=1)
    return replace(plan, frontend=front, training=slowed(plan.training), finetune=tuning)


def common_track(corpora: Sequence[Prepared]) -> str:
    """ "" where all corpora are audio; the encoded track where all come with one."""
    kinds = {tuple(c.info.get("tracks") or ()) for c in corpora}
    if len(kinds) > 1:
        folders = ", ".join(f"{c.folder} ({', '.join(c.info.get('tracks') or ['audio'])})" for c in corpora)
        raise InputError(f"{folders}: no track in common. Use audio corpora together, or encoded ones.")
    shared: tuple[str, ...] = next(iter(kinds), ())
    return shared[0] if shared else ""


def override(plan: Recipe, assignments: Sequence[str]) -> Recipe:
    """`KEY=VALUE` settings, typed by the field; the last of two wins."""
    for text in assignments:
        key, value = (part.strip() for part in text.partition("=")[::2])
        if key in PARTS and value not in ("", has := getattr(plan, key)):
            option = "another recipe" if key == "name" else f"--{key} {value}"
            raise InputError(
                f"--set {text}: a part is not a setting; its own settings would stay those of {has}. Use {option}."
            )
    try:
        plan = settings.parse_settings(plan, frames_as_seconds(plan, list(map(lengthened, assignments))))
    except InputError as error:
        raise InputError(_as_typed(error)) from None
    if not any(text.strip().startswith("track.") for text in assignments):
        return plan
    return replace(plan, track_config=settled(plan.track, plan.track_config, again=True))


def _as_typed(error: InputError) -> str:
    return re.sub(r"(\w+), \1_config|(\w+)_config", r"\1\2", str(error))


def lengthened(assignment: str) -> str:
    """`KEY=VALUE` with the fields of a recipe in full, wherever the recipe stands in it.

    >>> lengthened("pretrain.objective.ratio=0.3")
    'pretrain.objective_config.ratio=0.3'
    """
    key, eq, value = assignment.partition("=")
    *above, leaf = key.strip().split(".")
    return ".".join([*(explain.PARTS.get(part, part) for part in above), leaf]) + eq + value


PARTS = ("name", "track", "backbone", "objective")  # of a recipe that have settings of their own


def show(plan: Any) -> str:
    """Every setting of a recipe, or of what holds recipes, explained; `configured` reads it again."""
    return explain.text(plan)


def configured(plan: Any, tree: dict[str, Any], where: Path | str) -> Any:
    """A recipe, or what holds recipes, with the settings of a file (`explain.read`).

    Raises InputError, which begins with `where`: an unknown setting, a value that does not fit, another recipe or part.
    """
    for part in PARTS if isinstance(plan, Recipe) else ():
        has = getattr(plan, part)
        if (wanted := tree.get(part, has)) != has:
            option = "that recipe" if part == "name" else f"--{part} {wanted}"
            raise InputError(f"{where}: settings of {part} {wanted}. Found {has}. Use {option}, or take it out.")
    try:
        plan = settings.from_mapping(plan, tree, where="setting")
    except InputError as error:
        raise InputError(f"{where}: {_as_typed(error)}") from None
    if not isinstance(plan, Recipe) or "track_config" not in tree:
        return plan
    return replace(plan, track_config=settled(plan.track, plan.track_config, again=True))


def from_dict(values: dict[str, Any], where: Path | str = "config.json") -> Recipe:
    """The recipe that a run's config.json holds, also one of an earlier version.

    Raises InputError, which begins with `where`, when a setting is not known to this version.
    """
    known = {f.name for f in fields(Recipe)}
    if not isinstance(values, dict) or set(values) != known:
        odd = ", ".join(sorted(set(values) ^ known)) if isinstance(values, dict) else str(values)[:40]
        raise InputError(f"{where}: settings of another version. Unknown or missing: {odd}. Make the run again.")
    for key in PARTS:
        if not isinstance(values[key], str):
            raise InputError(f"{where}: damaged: {key} is a name. Found {values[key]!r:.40}. Make the run again.")

    def made(kind: Any, tree: dict[str, Any]) -> Any:
        return settings.from_mapping(kind, tree, where=f"{where}:")

    def of_part(part: str, folder: str) -> Any:
        return made(plugins.load(folder, values[part]).Config, _group(values, f"{part}_config", where))

    tuning: Any = _group(values, "finetune", where)
    mode = tuning.get("mode", "full")
    if not isinstance(mode, str) or mode not in finetuning.MODES:
        raise InputError(f"{where}: finetune.mode: one of {', '.join(finetuning.MODES)}. Found {mode!r:.40}.")
    if "probe" in tuning or (mode != "full" and "training" in tuning):
        tuning = finetuning.of_earlier(tuning)
    kind: Any = finetuning.MODES[mode]
    try:
        track_config, frontend = of_part("track", "tracks"), made(Frontend, _group(values, "frontend", where))
        rate_hz = track_config.rate_hz / frontend.subsampling
        training = in_seconds(_group(values, "training", where), rate_hz)
        if isinstance(tuning.get("training"), dict):
            tuning = tuning | {"training": in_seconds(tuning["training"], rate_hz)}
        return Recipe(
            values["name"], values["track"], values["backbone"], values["objective"], track_config, frontend,
            of_part("backbone", "backbones"), of_part("objective", "objectives"),
            made(Training, training), made(kind, tuning),
        )  # fmt: skip
    except InputError as error:
        said = str(error).removeprefix(f"{where}: ")
        raise InputError(f"{where}: settings of another version, or damaged. {said}") from None


IN_FRAMES = {"crop": "crop_s", "batch_steps": "batch_s"}  # what earlier versions counted in frames of the backbone


def in_seconds(values: dict[str, Any], rate_hz: float) -> dict[str, Any]:
    """Settings of a training as earlier versions wrote them, in today's unit."""
    frames = {IN_FRAMES[key]: values[key] / rate_hz for key in IN_FRAMES if isinstance(values.get(key), (int, float))}
    return {key: value for key, value in values.items() if key not in IN_FRAMES} | frames


def frames_as_seconds(config: Any, assignments: Sequence[str]) -> list[str]:
    """`...training.crop=100` as `...training.crop_s=4.0`, at the frame rate that the other settings make.

    Raises InputError where the recipe is not known whose frames these are.
    """
    old = {text for text in assignments if text.partition("=")[0].strip().rpartition(".")[2] in IN_FRAMES}
    if not old:
        return list(assignments)
    config = settings.parse_settings(config, [text for text in assignments if text not in old])
    return [_in_seconds(config, text) if text in old else text for text in assignments]


def _in_seconds(config: Any, text: str) -> str:
    key, _, value = text.partition("=")
    above, _, leaf = key.strip().rpartition(".")
    plan, holder = config if isinstance(config, Recipe) else None, config
    for name in filter(None, above.split(".")):
        holder = getattr(holder, getattr(holder, "renamed", {}).get(name, name), None)
        plan = holder if isinstance(holder, Recipe) else plan
    if plan is None or not value.strip().isdecimal():
        raise InputError(f"--set {text}: counted frames. It is {IN_FRAMES[leaf]} now, in seconds.")
    seconds = int(value) / plan.frontend_rate_hz()
    settings.notes.warning("--set %s: is %s.%s=%g now, in seconds.", text, above, IN_FRAMES[leaf], seconds)
    return f"{above}.{IN_FRAMES[leaf]}={seconds!r}"


def _group(values: dict[str, Any], name: str, where: Path | str) -> dict[str, Any]:
    if not isinstance(values[name], dict):
        found = str(values[name])[:40]
        raise InputError(f"{where}: {name} is a group of settings. Found {found!r}. Make the run again.")
    return values[name]
