"""`sottovoce run`: a published system from corpora to its comparison table, one command.

    masked_timesteps   pretrain -> finetune                                       --ablate scratch,frozen
    gmp_tl             attributes -> label -> units -> finetune, from an encoder  --ablate no-gender,no-gmp,...
    ems                strengthnet -> strength track -> pretrain -> frozen probe  --ablate random,energy,npc,...

Every seed, variant and fold goes through the steps that `recipes/NAME.py` names; every variant is evaluated, and all
are compared with the whole system:

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
    system: Annotated[str, typer.Argument(help="masked_timesteps, gmp_tl or ems")],
    corpora: Annotated[
        list[Path], typer.Argument(help="prepared corpora: the labelled one, then more to pre-train on, unlabelled")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder; the same command again goes on")],
    encoder: Annotated[
        str,
        typer.Option(help="gmp_tl: run folder of `pretrain`, folder in transformers' layout, or id of the hub"),
    ] = "",
    fold: Annotated[
        str | None, typer.Option(help="NAME, several with commas, or 'all'. Default: the first fold")
    ] = None,
    ablate: Annotated[
        str,
        typer.Option(
            help="variants beside the whole system, with commas. masked_timesteps: scratch, frozen. gmp_tl: plain, "
            "no-gender, no-gmp, no-amsoftmax, no-margin, last-layer, single-scale, per-gender, all-frames. ems: "
            "random, energy, sampled, released, threshold, untrained, npc. KEY=VALUE is one too, such as layer=2, and "
            "several make one: no-gmp+no-gender"
        ),
    ] = "",
    leak: Annotated[
        str,
        typer.Option(
            help="leaky variants, to measure how much they flatter: random-dev (dev shares training speakers), "
            "test-selection (the test part chooses); gmp_tl also all-clusters (clusters hear test speakers)"
        ),
    ] = "",
    target: Annotated[str, typer.Option(help="label to learn; default: the corpus's own")] = "",
    seeds: Annotated[int, typer.Option(help="seeds of every training; 0, 1, ...", min=1)] = 1,
    transductive: Annotated[
        bool, typer.Option("--transductive", help="allow an encoder that has heard test speakers (reported)")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for all variants, e.g. layer=2; repeatable. See --print-config"),
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

    module = plugins.load("recipes", system)
    if not hasattr(module, "system"):
        raise InputError(f"{system}: not a system of several steps. Found one step: `sottovoce pretrain {system}`.")
    loaded = [Corpus.load(folder) for folder in corpora]
    data = loaded[0]
    task = Task.of(data, [t.strip() for t in target.split(",") if t.strip()])
    if bool(encoder) != module.ENCODER:
        raise InputError(
            f"{system}: begins {'with' if module.ENCODER else 'without'} an encoder. Found {encoder or 'none'}. "
            + ("Name a run of `sottovoce pretrain`: --encoder runs/x." if module.ENCODER else "Leave --encoder out.")
        )
    if module.ENCODER and len(loaded) > 1:
        raise InputError(f"{system}: learns from one corpus. Found {len(loaded)}. Pre-train the encoder on the others.")
    plan = None
    if encoder:
        first = encoders.parts(encoder)[0]
        plan = recipes.from_dict(first.config["settings"], first.folder / "config.json")
    whole = changed(module.system(plan, loaded), settings or [], "--set")
    if print_config:
        typer.echo(recipes.show(whole))
        return
    wanted = {system: whole}
    for option, text, known in (("--ablate", ablate, module.ABLATIONS), ("--leak", leak, module.LEAKS)):
        for words in [w.strip() for w in text.split(",") if w.strip()]:
            wanted[words.replace("=", "-")] = variant(whole, words, known, option)
    folds = runs.choose_folds(data, fold)
    for name, config in wanted.items():
        module.check(config, plan, name, data, task, folds)
    walks = [Walk(loaded, task, f, 0, output, encoder, transductive, jobs, quiet) for f in folds]
    for walk in walks if encoder else ():
        walk.weights()  # refused where it has heard test speakers
    if dry_run:
        for name, config in wanted.items():
            typer.echo(f"{name}: {module.outline(config, plan)}; {len(folds)} folds x {seeds} seeds")
        typer.echo("The first step of a fold; what variants share is made once:")
        try:
            module.through(whole, plan, replace(walks[0], dry_run=True), output)
        except Rehearsed:
            return
    made: dict[str, list[Path]] = {}
    for seed in range(seeds):
        for name, config in wanted.items():
            home = output / name / f"seed{seed}"
            for walk in walks:
                module.through(config, plan, replace(walk, seed=seed), home / walk.fold.name)
            evaluated(home, folds, opensmile=opensmile and name == system and not seed, quiet=quiet, jobs=jobs)
            made.setdefault(name, []).append(home)
    summary(output, system, module, made, wanted, quiet=quiet)


def changed(config: Any, items: Sequence[str], option: str) -> Any:
    """A system's settings with `KEY=VALUE` applied, in the short words of recipes: pretrain.objective.ratio=0.3."""
    from sottovoce.recipe import lengthened
    from sottovoce.settings import parse_settings

    return parse_settings(config, [lengthened(item) for item in items], option=option)


def variant(config: Any, words: str, known: Mapping[str, Any], option: str) -> Any:
    """A system's settings with some ablations, joined by `+`; KEY=VALUE is one too.

    Raises InputError for a word that is neither.
    """
    from sottovoce.errors import unknown_name

    for word in words.split("+"):
        if "=" in word:
            config = changed(config, [word], option)
        elif word in known:
            config = known[word](config)
        else:
            raise unknown_name(option, word, [*known, "KEY=VALUE"])
    return config


SCORES = ("ua", "wa", "macro_f1", "mae", "acc4", "ccc")  # what run.json and index.html show of each variant


class Rehearsed(Exception):
    """The first step was timed; nothing more happens in a dry run."""


@dataclass(frozen=True)
class Walk:
    """One fold of one seed, on its way through a system's steps: what a recipe's `through` is handed.

    A step that trains goes into output/steps/NAME-KEY/FOLD, where KEY tells its settings and all that came before.
    """

    corpora: Sequence[Corpus]  # the labelled one first
    task: Task
    fold: Fold
    seed: int
    output: Path
    encoder: str = ""
    transductive: bool = False
    jobs: int | None = None
    quiet: bool = False
    dry_run: bool = False

    @property
    def corpus(self) -> Corpus:
        return self.corpora[0]

    def weights(self) -> Run:
        """The encoder's run that has not heard this fold's test speakers."""
        from sottovoce.finetune import weights_for

        found = weights_for(self.encoder, self.corpus, self.fold, transductive=self.transductive)
        assert found is not None
        return found

    def pretrain(
        self, plan: "Recipe", before: Run | None = None, *, units: Path | None = None, everybody: bool = False
    ) -> Run:
        """One step of training, from the weights of the step before or random ones; leaky with `everybody`."""
        from sottovoce import pretrain
        from sottovoce import recipe as recipes

        plan = recipes.seeded(plan, self.seed)
        home = self.step(plan.name, plan, before, units and units.parent.name, everybody)
        pretrain.pretrain(
            plan, list(self.corpora), "everybody" if everybody else self.fold.name, home,
            init=where(before) if before else "", units_from=str(units or ""), transductive=self.transductive,
            jobs=self.jobs, dry_run=self.dry_run, quiet=self.quiet,
        )  # fmt: skip
        self.rehearsed()
        return Run.load(home, "pretrain")

    def label(
        self, before: Run, layer: int, clusters: Sequence[int], *, per_gender: bool = False, everybody: bool = False
    ) -> Path:
        """The folder of the clusters of a layer's states; leaky with `everybody`."""
        from sottovoce import label

        home = self.step("label", [layer, clusters, per_gender, self.seed, everybody], before)
        label.label(
            before, list(self.corpora), "everybody" if everybody else self.fold.name, home, layer=layer,
            clusters=clusters, per_gender=per_gender, seed=self.seed, stability=0,
            transductive=self.transductive or everybody, jobs=self.jobs, quiet=self.quiet,
        )  # fmt: skip
        return home

    def strength(self, plan: "Recipe") -> str:
        """The intensity of all recordings by a model of emotional strength, taught on the labelled corpus: the name of
        the track."""
        from sottovoce import extract, pretrain, strength
        from sottovoce import recipe as recipes

        plan = recipes.seeded(plan, self.seed)
        home = self.step(plan.name, plan)
        strength.learn(
            plan, [self.corpus], {self.fold.name: pretrain.parts([self.corpus], self.fold.name)}, home.parent,
            jobs=self.jobs, dry_run=self.dry_run, quiet=self.quiet,
        )  # fmt: skip
        self.rehearsed()
        run = Run.load(home, "pretrain")
        stores = [
            extract.model_store(corpus, "strength", run, jobs=self.jobs, quiet=self.quiet) for corpus in self.corpora
        ]
        return stores[0].folder.name

    def finetune(self, plan: "Recipe", before: Run | None, home: Path, *, transductive: bool = False) -> None:
        """The last step, an ordinary fine-tuned run."""
        from sottovoce import recipe as recipes
        from sottovoce.extract import track_store
        from sottovoce.finetune import finetune

        store = track_store(self.corpus, plan.track, asdict(plan.track_config), jobs=self.jobs, quiet=self.quiet)
        finetune(
            recipes.on_clock(recipes.seeded(plan, self.seed), store.rate_hz), self.corpus, store, self.fold, self.task,
            home, init=before, seed=self.seed, quiet=self.quiet, transductive=self.transductive or transductive,
        )  # fmt: skip

    def step(self, name: str, *settings: Any) -> Path:
        """Where a step of this fold is: the same for all variants that agree up to it, whatever follows."""
        known = [s if not isinstance(s, Run) else s.config.get("encoder", s.folder.parent.name) for s in settings]
        key = files.digest([self.encoder, [c.name for c in self.corpora], *known])
        return self.output / "steps" / f"{name}-{key[:6]}" / self.fold.name

    def rehearsed(self) -> None:
        if self.dry_run:
            raise Rehearsed


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
    module: "ModuleType",
    made: Mapping[str, Sequence[Path]],
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
            main = {key: found["metrics"][key] for key in SCORES if key in found["metrics"]}
            scores[f"{name}/{home.name}"] = main
            title = f"{name}, {home.name}" if len(homes) > 1 else name
            said = ", ".join(f"{key} {score['value']:.3f}" for key, score in main.items())
            items.append({"title": title, "href": f"{name}/{home.name}/report.html", "summary": said})
    for page in sorted(output.glob("steps/*/*/report.html"), key=lambda p: runs.natural(str(p))):
        step, fold = page.parent.parent.name, page.parent.name
        said = f"step: {module.STEPS.get(step.rpartition('-')[0], '')}"
        items.append({"title": f"{step}, {fold}", "href": str(page.relative_to(output)), "summary": said})
    files.write_json(
        output / "run.json",
        {"kind": "run", "system": system, "scores": scores, "settings": wanted,
         "made": runs.provenance()},
    )  # fmt: skip
    files.write_text(output / "index.html", pages.index_page(f"{system}", items))
    typer.echo(f"Report: {output / 'index.html'}")
