"""`sottovoce run`: a published system of several steps, from an encoder to its comparison table, one command.

    every seed x variant x fold:  attributes -> label -> units -> finetune        (recipes/gmp_tl.py)
    every seed x variant:         evaluate
    all variants:                 compare with the whole system

    runs/gmp/
      steps/attributes-3fa9c1/fold1/   a step's run; variants that share a step share it here
      steps/label-77b0e2/fold1/        codebook, report of the clusters
      gmp_tl/seed0/fold1/              the last step, an ordinary fine-tuned run
      gmp_tl/seed0/report.html         its evaluation
      no-gender/seed0/...
      compare.html  compare.csv  run.json  index.html

What is finished is never done again; a killed command goes on where it was. No step hears a fold's test speakers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sottovoce import files, runs
from sottovoce.corpus import Corpus, Fold
from sottovoce.errors import InputError
from sottovoce.runs import Run
from sottovoce.task import Task

if TYPE_CHECKING:
    from types import ModuleType

    from sottovoce.recipe import Recipe


def main(
    system: Annotated[str, typer.Argument(help="gmp_tl")],
    corpus: Annotated[Path, typer.Argument(help="prepared corpus with labels and genders")],
    encoder: Annotated[
        str, typer.Option(help="run folder of `pretrain`, folder in transformers' layout, or id of the hub")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder; the same command again goes on")],
    fold: Annotated[
        str | None, typer.Option(help="NAME, several with commas, or 'all'. Default: the first fold")
    ] = None,
    ablate: Annotated[
        str,
        typer.Option(
            help="variants beside the whole system, with commas: plain, no-gender, no-gmp, no-amsoftmax, no-margin, "
            "last-layer, single-scale, per-gender, all-frames, or KEY=VALUE such as layer=2; several in one: "
            "no-gmp+no-gender. Steps left out give their epochs to the last one"
        ),
    ] = "",
    leak: Annotated[
        str,
        typer.Option(
            help="leaky variants, to measure how much they flatter: random-dev (dev shares training speakers), "
            "test-selection (the test part chooses), all-clusters (clusters hear test speakers)"
        ),
    ] = "",
    target: Annotated[str, typer.Option(help="label to learn; default: the corpus's own")] = "",
    seeds: Annotated[int, typer.Option(help="seeds of every training; 0, 1, ...", min=1)] = 1,
    transductive: Annotated[
        bool, typer.Option("--transductive", help="allow an encoder that has heard test speakers (reported)")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for all variants, e.g. layer=2; repeatable")
    ] = None,
    opensmile: Annotated[
        bool, typer.Option("--opensmile/--no-opensmile", help="functionals + SVM beside the whole system's first seed")
    ] = True,
    jobs: Annotated[int | None, typer.Option(help="processes for extraction; default: all cores")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="show every setting and stop")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything, list the steps, time the first, stop")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars, no tables")] = False,
) -> None:
    """All steps of a system on one corpus, with any ablation beside it.

    Example: sottovoce run gmp_tl data/ravdess --encoder runs/hubert-small --fold all -o runs/gmp
    """
    from sottovoce import encoders, plugins
    from sottovoce import recipe as recipes
    from sottovoce.settings import parse_settings

    module = plugins.load("recipes", system)
    if not hasattr(module, "system"):
        raise InputError(f"{system}: not a system of several steps. Found one step: `sottovoce pretrain {system}`.")
    data = Corpus.load(corpus)
    task = Task.of(data, [t.strip() for t in target.split(",") if t.strip()])
    first = encoders.parts(encoder)[0]
    plan = recipes.from_dict(first.config["settings"], first.folder / "config.json")
    whole = parse_settings(module.system(plan), settings or [])
    if print_config:
        typer.echo("\n".join(f"{key} = {value}" for key, value in files.flatten(whole).items()))
        return
    wanted = {system: whole}
    for option, text, known in (("--ablate", ablate, module.ABLATIONS), ("--leak", leak, module.LEAKS)):
        for words in [w.strip() for w in text.split(",") if w.strip()]:
            wanted[words.replace("=", "-")] = module.variant(whole, words, known, option)
    folds = runs.choose_folds(data, fold)
    check(data, task, folds, wanted)
    for config in wanted.values():
        module.clustered(config, plan)
    it = System(module, plan, encoder, data, task, output, transductive=transductive, jobs=jobs, quiet=quiet)
    for f in folds:
        it.encoder_for(f)  # refuses one that has heard test speakers
    if dry_run:
        outline(it, wanted, folds, seeds)
        return
    made: dict[str, list[Path]] = {}
    for seed in range(seeds):
        for name, config in wanted.items():
            home = output / name / f"seed{seed}"
            for f in folds:
                it.through(config, seed, f, home / f.name)
            evaluated(home, folds, opensmile=opensmile and name == system and not seed, quiet=quiet, jobs=jobs)
            made.setdefault(name, []).append(home)
    summary(output, system, made, plan, wanted, quiet=quiet)


def check(corpus: Corpus, task: Task, folds: Sequence[Fold], wanted: Mapping[str, Any]) -> None:
    """Raises InputError for what would fail hours later: no classes, no genders, a class that a training part lacks."""
    if task.kind != "class":
        raise InputError(f"{corpus.folder}: {', '.join(task.target)} are numbers. Found no classes to learn.")
    for f in folds:
        people = [corpus.by_id[key] for key in f.train]
        found = {str(u.labels.get(task.target[0], "")) for u in people}
        if lost := [name for name in task.classes if name not in found]:
            raise InputError(
                f"{corpus.folder}: the training part of {f.name} has no {', '.join(lost)}. Found {len(people)} "
                "utterances of the other classes. Prepare it without that class (--drop), or use other folds."
            )
        genders = {u.gender for u in people} - {""}
        for name, config in wanted.items():
            if config.per_gender and config.pseudo and any(not u.gender for u in people):
                raise InputError(f"{corpus.folder}: {name} clusters genders apart. Found utterances without one.")
            if config.augment and config.gender and len(genders) < 2:
                raise InputError(
                    f"{corpus.folder}: no two genders in the training part of {f.name}. Found "
                    f"{', '.join(genders) or 'none'}. Prepare it with them, or leave them out: --set gender=0."
                )


STEPS = {
    "attributes": "step: emotion and gender learned together",
    "label": "step: clusters of the hidden states",
    "masked_units": "step: saying which clusters hidden stretches belong to",
}


@dataclass
class System:
    """One system on one corpus; `through` takes a fold through all steps."""

    module: "ModuleType"  # of recipes/
    plan: "Recipe"  # the encoder's own settings
    encoder: str
    corpus: Corpus
    task: Task
    output: Path
    transductive: bool = False
    jobs: int | None = None
    quiet: bool = False

    def encoder_for(self, fold: Fold) -> Run:
        from sottovoce.finetune import weights_for

        found = weights_for(self.encoder, self.corpus, fold, transductive=self.transductive)
        assert found is not None
        return found

    def through(self, config: Any, seed: int, fold: Fold, home: Path) -> None:
        """Every step of one fold; the last one's run goes to `home`."""
        from sottovoce import recipe as recipes
        from sottovoce.extract import track_store
        from sottovoce.finetune import finetune

        weights = self.encoder_for(fold)
        if config.augment:
            weights = self._pretrained(self.module.first(config, self.plan, self.task.target[0]), weights, seed, fold)
        if config.pseudo:
            units, hearing = self._units(config, weights, seed, fold)
            weights = self._pretrained(
                self.module.third(config, self.plan), weights, seed, fold, units=units, hearing=hearing
            )
        store = track_store(
            self.corpus, self.plan.track, asdict(self.plan.track_config), jobs=self.jobs, quiet=self.quiet
        )
        plan = recipes.on_clock(recipes.seeded(self.module.last(config, self.plan), seed), store.rate_hz)
        finetune(
            plan, self.corpus, store, fold, self.task, home, init=weights, seed=seed, quiet=self.quiet,
            transductive=self.transductive or config.everybody,
        )  # fmt: skip

    def _pretrained(
        self, plan: "Recipe", before: Run, seed: int, fold: Fold, *, units: Path | None = None, hearing: str = ""
    ) -> Run:
        """One step of training, from the weights of the step before."""
        from sottovoce import pretrain
        from sottovoce import recipe as recipes

        plan = recipes.seeded(plan, seed)
        home = self.step(plan.objective, plan, before, units and units.parent.name, hearing == "everybody")
        pretrain.pretrain(
            plan, [self.corpus], hearing or fold.name, home / fold.name, init=where(before),
            units_from=str(units or ""), transductive=self.transductive, jobs=self.jobs, quiet=self.quiet,
        )  # fmt: skip
        return Run.load(home / fold.name, "pretrain")

    def _units(self, config: Any, before: Run, seed: int, fold: Fold) -> tuple[Path, str]:
        """The folder of a fold's clusters, and the name of the part they, and who learns them, may hear."""
        from sottovoce import label

        layer = self.module.clustered(config, self.plan)
        hearing = "everybody" if config.everybody else fold.name
        home = self.step("label", [layer, config.clusters, config.per_gender, seed, hearing == "everybody"], before)
        label.label(
            before, [self.corpus], hearing, home / fold.name, layer=layer, clusters=config.clusters,
            per_gender=config.per_gender, seed=seed, stability=0, transductive=self.transductive or config.everybody,
            jobs=self.jobs, quiet=self.quiet,
        )  # fmt: skip
        return home / fold.name, hearing

    def step(self, name: str, *settings: Any) -> Path:
        """Where the runs of a step are: the same for all variants that agree up to it, whatever follows."""
        known = [s.folder.parent.name if isinstance(s, Run) and "encoder" not in s.config else s for s in settings]
        known = [s.config["encoder"] if isinstance(s, Run) else s for s in known]
        return self.output / "steps" / f"{name}-{files.digest([self.encoder, *known])[:6]}"


def where(run: Run) -> str:
    """What `--init` would be called with."""
    return run.config.get("encoder", str(run.folder))


def evaluated(home: Path, folds: Sequence[Fold], *, opensmile: bool, quiet: bool, jobs: int | None) -> None:
    """Evaluate a variant's folds, unless this was done since the last of them was made."""
    from sottovoce import evaluate

    report = home / "report.json"
    newest = max((home / f.name / "model.safetensors").stat().st_mtime for f in folds)
    if report.exists() and report.stat().st_mtime > newest:
        return
    evaluate.main(home, opensmile=None if opensmile else False, quiet=quiet, jobs=jobs)


def summary(
    output: Path,
    system: str,
    made: Mapping[str, Sequence[Path]],
    plan: "Recipe",
    wanted: Mapping[str, Any],
    *,
    quiet: bool,
) -> None:
    """compare.* of the variants with the whole system, index.html, run.json."""
    from sottovoce import compare
    from sottovoce import report as pages

    items = []
    if len(made) > 1:
        systems = [
            replace(compare.load(",".join(map(str, homes)), quiet=quiet), name=name) for name, homes in made.items()
        ]
        result = compare.compare(systems)
        compare.save(output, result)
        items.append({"title": "All variants", "href": "compare.html", "summary": f"paired, against {system}"})
        if not quiet:
            compare.show(result)
    scores = {}
    for name, homes in made.items():
        for home in homes:
            found = files.read_json(home / "report.json")
            scores[f"{name}/{home.name}"] = {key: found["metrics"][key] for key in ("wa", "ua", "macro_f1")}
            title = f"{name}, {home.name}" if len(homes) > 1 else name
            said = f"UA {found['metrics']['ua']['value']:.3f}, WA {found['metrics']['wa']['value']:.3f}"
            items.append({"title": title, "href": f"{name}/{home.name}/report.html", "summary": said})
    for page in sorted(output.glob("steps/*/*/report.html"), key=lambda p: runs.natural(str(p))):
        step, fold = page.parent.parent.name, page.parent.name
        said = STEPS[step.rpartition("-")[0]]
        items.append({"title": f"{step}, {fold}", "href": str(page.relative_to(output)), "summary": said})
    files.write_json(
        output / "run.json",
        {"kind": "run", "system": system, "scores": scores, "settings": wanted, "encoder": plan,
         "made": runs.provenance()},
    )  # fmt: skip
    files.write_text(output / "index.html", pages.index_page(f"{system}", items))
    typer.echo(f"Report: {output / 'index.html'}")


def outline(it: System, wanted: Mapping[str, Any], folds: Sequence[Fold], seeds: int) -> None:
    """What would be done, and how long the first step takes."""
    from sottovoce import pretrain
    from sottovoce import recipe as recipes

    for name, config in wanted.items():
        steps = [f"attributes {config.attributes.epochs} epochs"] * config.augment
        scales = ", ".join(map(str, config.clusters))
        steps += [
            f"clusters {scales} of layer {it.module.clustered(config, it.plan)}",
            f"units {config.masked.epochs}",
        ] * config.pseudo
        steps += [f"finetune {config.finetune.training.epochs} ({config.finetune.loss})"]
        typer.echo(f"{name}: {' -> '.join(steps)}; {len(folds)} folds x {seeds} seeds")
    whole = next(iter(wanted.values()))
    plan = recipes.seeded(it.module.first(whole, it.plan, it.task.target[0]), 0)
    typer.echo("The first step of a fold; the others take about as long an epoch, what variants share is made once:")
    pretrain.pretrain(
        plan, [it.corpus], folds[0].name, it.output / "dry", init=where(it.encoder_for(folds[0])),
        transductive=it.transductive, jobs=it.jobs, dry_run=True, quiet=it.quiet,
    )  # fmt: skip
