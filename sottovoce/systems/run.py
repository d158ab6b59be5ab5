"""`sottovoce run`: a published system from corpora to its comparison table, one command.

    masked_timesteps   pretrain -> finetune                                       --ablate scratch,frozen
    gmp_tl             attributes -> label -> units -> finetune, from an encoder  --ablate no-gender,no-gmp,...
    ems                strengthnet -> intensity track -> pretrain -> frozen probe  --ablate random,energy,npc,...

Every seed, variant and fold goes through the steps that `recipes/NAME.py` names; every variant is evaluated, and all
are compared with the whole system:

    runs/gmp/
      steps/attributes-3fa9c1/fold1/   a step's run; variants that share a step share it here
      steps/label-77b0e2/fold1/        codebook, report of the clusters
      gmp_tl/seed0/fold1/              the last step, an ordinary fine-tuned run
      gmp_tl/seed0/report.html         its evaluation
      no-gender/seed0/...
      compare.html  compare.csv  run.json  index.html

What is finished is never done again; a killed command goes on where it was. No step sees a fold's test speakers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sottovoce import files, plugins
from sottovoce import report as pages
from sottovoce.config import recipe as recipes
from sottovoce.config.recipe import Recipe, lengthened
from sottovoce.config.settings import parse_settings
from sottovoce.data import own, runs
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.folds import NO_HOLDOUT
from sottovoce.data.runs import Run
from sottovoce.data.task import Task
from sottovoce.errors import unknown_name
from sottovoce.evaluation import compare, evaluate
from sottovoce.modeling.loop import Keep
from sottovoce.pipeline import extract, label, pretrain, workers
from sottovoce.pipeline.extract import plan_store
from sottovoce.pipeline.finetune import Given, finetune, weights_for
from sottovoce.pipeline.pretrain_data import Start


def changed(config: Any, items: Sequence[str], option: str) -> Any:
    """A system's settings with `KEY=VALUE` applied, in the short words of recipes: pretrain.objective.ratio=0.3."""
    full = recipes.frames_as_seconds(config, [lengthened(item) for item in items])
    return parse_settings(config, full, option=option)


def variant(config: Any, words: str, known: Mapping[str, Any], option: str) -> Any:
    """A system's settings with some ablations, joined by `+`; KEY=VALUE is one too.

    Raises InputError for a word that is neither.
    """
    for word in words.split("+"):
        if "=" in word:
            config = changed(config, [word], option)
        elif word in known:
            change = known[word]  # settings, or what makes them of those that are there
            config = change(config) if callable(change) else changed(config, change, option)
        else:
            raise unknown_name(option, word, [*known, "KEY=VALUE"])
    return config


SCORES = ("ua", "wa", "macro_f1", "mae", "acc4", "ccc")  # what run.json and index.html show of each variant


class DryRunDone(Exception):
    """The first step was timed; nothing more happens in a dry run."""


@dataclass(frozen=True)
class FoldContext:
    """One fold of one seed, and the steps a system may take on it: what a recipe's `run_stages` is given.

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
        """The encoder's run that has not seen this fold's test speakers."""
        found = weights_for(self.encoder, self.corpus, self.fold, transductive=self.transductive)
        assert found is not None
        return found

    def pretrain(
        self, plan: Recipe, before: Run | None = None, *, units: Path | None = None, include_test: bool = False
    ) -> Run:
        """One step of training, from the weights of the step before or random ones; leaky with `include_test`."""
        plan = recipes.seeded(plan, self.seed)
        home = self.step(plan.name, plan, before, units and units.parent.name, include_test)
        init = before.config.get("encoder", str(before.folder)) if before else ""
        start = Start(init, str(units or ""), self.transductive, jobs=self.jobs, quiet=self.quiet)
        return self._trained(plan, self.corpora, NO_HOLDOUT if include_test else self.fold.name, home, start)

    def label(
        self, before: Run, layer: int, clusters: Sequence[int], *, per_gender: bool = False, include_test: bool = False
    ) -> Path:
        """The folder of the clusters of a layer's states; leaky with `include_test`."""
        home = self.step("label", [layer, clusters, per_gender, self.seed, include_test], before)
        wanted = label.Clustering(
            layer, clusters, per_gender, seed=self.seed, stability=0, transductive=self.transductive or include_test
        )
        known = NO_HOLDOUT if include_test else self.fold.name
        label.label(before, list(self.corpora), known, home, wanted, jobs=self.jobs, quiet=self.quiet)
        return home

    def intensity_track(self, plan: Recipe) -> str:
        """The intensity of all recordings by a model of its own, taught on the labelled corpus: the name of
        the track."""
        plan = recipes.seeded(plan, self.seed)
        start = Start(jobs=self.jobs, quiet=self.quiet)
        run = self._trained(plan, [self.corpus], self.fold.name, self.step(plan.name, plan), start)
        stores = [extract.model_store(c, "intensity", run, jobs=self.jobs, quiet=self.quiet) for c in self.corpora]
        return stores[0].folder.name

    def finetune(self, plan: Recipe, before: Run | None, home: Path, *, transductive: bool = False) -> None:
        """The last step, an ordinary fine-tuned run."""
        store = plan_store(self.corpus, plan, jobs=self.jobs, quiet=self.quiet)
        finetune(
            recipes.at_frame_rate(recipes.seeded(plan, self.seed), store.rate_hz),
            self.corpus, store, self.fold, self.task,
            Given(before, seed=self.seed, transductive=self.transductive or transductive),
            Keep(home, quiet=self.quiet),
        )  # fmt: skip

    def step(self, name: str, *settings: Any) -> Path:
        """Where a step of this fold is: the same for all variants that agree up to it, whatever follows."""
        known = [s if not isinstance(s, Run) else s.config.get("encoder", s.folder.parent.name) for s in settings]
        key = files.digest([self.encoder, [c.name for c in self.corpora], *known])
        return self.output / "steps" / f"{name}-{key[:6]}" / self.fold.name

    def _trained(self, plan: Recipe, corpora: Sequence[Corpus], fold: str, home: Path, start: Start) -> Run:
        pretrain.pretrain(plan, corpora, fold, home, start, dry_run=self.dry_run)
        if self.dry_run:
            raise DryRunDone
        return Run.load(home, "pretrain")


def ahead(
    system: str, wanted: Mapping[str, Any], encoder: Recipe | None, contexts: Sequence[FoldContext], seeds: int
) -> None:
    """All trainings, a seed and a fold at a time, by all workers there are. Variants share steps, so one worker does
    them all."""
    output, corpora = contexts[0].output, contexts[0].corpora
    known = [system, wanted, encoder, [c.info for c in corpora], contexts[0].encoder, contexts[0].transductive]
    items = [((seed, k), [known, seed, asdict(c.fold)]) for seed in range(seeds) for k, c in enumerate(contexts)]
    work = partial(_seed_and_fold, system, wanted, encoder, contexts)
    workers.once(work, items, home=output, needs=[c.folder for c in corpora])


def _seed_and_fold(
    system: str,
    wanted: Mapping[str, Any],
    encoder: Recipe | None,
    contexts: Sequence[FoldContext],
    item: tuple[int, int],
) -> None:
    context = replace(contexts[item[1]], seed=item[0])
    for name, config in wanted.items():
        home = variant_home(context.output, name, context.seed) / context.fold.name
        plugins.load("recipes", system).run_stages(config, encoder, context, home)


def variant_home(output: Path, name: str, seed: int) -> Path:
    return output / name / f"seed{seed}"


@dataclass(frozen=True)
class Score:
    """Of report.json, as far as the summary shows it."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Report:
    metrics: dict[str, Score]


def evaluated(home: Path, folds: Sequence[Fold], *, opensmile: bool, jobs: int | None) -> None:
    """Evaluate a variant's folds, unless this was done since the last of them was made."""
    made = [home / name for name in ("predictions.csv", "report.html", "report.json")]
    newest = max((home / f.name / "model.safetensors").stat().st_mtime for f in folds)
    if all(path.exists() and path.stat().st_mtime > newest for path in made):
        return
    evaluate.report_on(home, home, opensmile=None if opensmile else False, jobs=jobs)


def summary(
    output: Path, system: str, steps: Mapping[str, str], made: Mapping[str, Sequence[Path]], wanted: Any, *, quiet: bool
) -> dict[str, Any] | None:
    """compare.* of the variants with the whole system, index.html, run.json; the comparison, where there is one.

    Args:
        steps: what each step is, in the order in which they are made.
        made: the folders of every variant, one a seed.
        wanted: the settings of every variant.
    """
    items, result = [], None
    if len(made) > 1:
        systems = [
            replace(compare.load(",".join(map(str, homes)), quiet=quiet), name=name) for name, homes in made.items()
        ]
        result = compare.compare(systems)
        compare.save(output, result)
        picture = pages.embedded(output / "compare.svg")
        paired = f"paired, against {system}"
        items.append({"title": "All variants", "href": "compare.html", "summary": paired, "picture": picture})
    scores = {}
    for name, homes in made.items():
        for home in homes:
            found = own.read_json(home / "report.json", Report, "Delete it and run the same command again.")
            known = {key: score for key, score in found.metrics.items() if score.value is not None}
            main = {key: known[key] for key in SCORES if key in known}
            scores[f"{name}/{home.name}"] = main
            title = f"{name}, {home.name}" if len(homes) > 1 else name
            said = ", ".join(f"{pages.metric_name(key)} {score.value:.3f}" for key, score in main.items())
            items.append({"title": title, "href": f"{name}/{home.name}/report.html", "summary": "", "result": said})
    order = list(steps)

    def place(page: Path) -> tuple:
        """In the order in which they are made."""
        kind = page.parent.parent.name.rpartition("-")[0]
        return order.index(kind) if kind in order else len(order), runs.natural(str(page))

    for page in sorted(output.glob("steps/*/*/report.html"), key=place):
        step, fold = page.parent.parent.name, page.parent.name
        said = f"step: {steps.get(step.rpartition('-')[0], '')}"
        items.append({"title": f"{step}, {fold}", "href": str(page.relative_to(output)), "summary": said})
    told = {"kind": "run", "system": system, "scores": scores, "settings": wanted, "made": runs.provenance()}
    files.write_json(output / "run.json", told)
    files.write_text(output / "index.html", pages.index_page(system, items))
    pages.link_pages(output / "index.html", items)
    return result
