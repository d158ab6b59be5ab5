"""The same freedom for every arm: learning rate, epochs and depth from a small grid, chosen on dev in every cell.

One after the other, beginning with the recipe's own settings: the learning rate, with the best one the epochs, with
these the depth. Three lists of two values are then four trainings and not eight. Of a frozen backbone depth alone is
there to choose, the penalty is chosen anyway; a published head chooses its learning rate and update itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sottovoce.config.finetuning import Full, Probe
from sottovoce.config.recipe import Recipe
from sottovoce.errors import InputError

LIMITS = {"lr": (1e-12, 1e3), "epochs": (1, 1_000_000), "depth": (0, 1000)}  # of what may be chosen
NONE, SMALL = "none", "small"


@dataclass(frozen=True)
class Choices:
    """Values of each setting to choose from, the recipe's own first; empty = it stays as it is."""

    lr: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    depth: tuple[int, ...] = ()  # blocks of the backbone that are used; 0 = all

    @classmethod
    def of(cls, text: str, plan: Recipe) -> "Choices":
        """ "none", "small" (three times the learning rate, twice the epochs, all blocks or two unless layers are
        named) or lists such as "lr=0.001,0.003 epochs=10,30 depth=0,2". Raises InputError for anything else."""
        tuning = plan.finetune
        if text == NONE or isinstance(tuning, Probe):
            return cls()
        if text == SMALL:
            depth = () if tuning.layers else (tuning.depth, 0 if tuning.depth else 2)
            if not isinstance(tuning, Full):
                return cls(depth=depth)
            training = tuning.training
            return cls((training.lr, 3 * training.lr), (training.epochs, 2 * training.epochs), depth)
        found: dict[str, tuple[Any, ...]] = {}
        for part in text.split():
            key, _, values = part.partition("=")
            try:
                found[key] = tuple((float if key == "lr" else int)(v) for v in values.split(","))
            except ValueError:
                found[key] = (-1,)
            least, most = LIMITS.get(key, (0, 0))  # of another word nothing
            if not all(least <= value < most for value in found[key]):
                raise InputError(
                    f"--tune {text}: found {part!r}. Give none, small, or lists of lr, epochs and depth, "
                    "e.g. 'lr=0.001,0.003 epochs=10,30'."
                )
            if len(set(found[key])) < 2:
                raise InputError(f"--tune {text}: one {key} is nothing to choose from. Give two, or --set it.")
        if not isinstance(tuning, Full):  # whose head is solved, or chooses for itself
            found = {key: values for key, values in found.items() if key == "depth"}
            if not found:
                raise InputError(f"--tune {text}: has no effect in mode {tuning.mode}. Name depth, or none.")
        return cls(**found)

    def lists(self) -> dict[str, tuple[Any, ...]]:
        """Those with something to choose."""
        return {key: values for key in LIMITS if len(values := tuple(dict.fromkeys(getattr(self, key)))) > 1}

    @property
    def trainings(self) -> int:
        """How many a cell costs."""
        return 1 + sum(len(values) - 1 for values in self.lists().values())

    def __str__(self) -> str:
        lists = "; ".join(f"{key} {', '.join(f'{v:g}' for v in values)}" for key, values in self.lists().items())
        return f"{self.trainings} trainings, dev chooses one after the other: {lists}" if lists else "one training"


NOTHING = Choices()


def with_values(plan: Recipe, chosen: Mapping[str, Any]) -> Recipe:
    """The plan with another learning rate, number of epochs or depth, whichever are chosen."""
    tuning = plan.finetune
    if "depth" in chosen:
        tuning = replace(tuning, depth=chosen["depth"])
    if isinstance(tuning, Full):
        trained = {key: value for key, value in chosen.items() if key != "depth"}
        tuning = replace(tuning, training=replace(tuning.training, **trained))
    return replace(plan, finetune=tuning)


def best_on_dev(history: Mapping[str, Any]) -> float:
    """The dev score of the weights that a training left."""
    rows = [*history.get("probe", ()), *history.get("epochs", ())]
    return max((row["select"] for row in rows if "select" in row), default=float("-inf"))


def tuned(plan: Recipe, choices: Choices, train: Callable[[Recipe], tuple[Any, dict[str, Any]]]) -> tuple[Any, dict]:
    """What `train(plan) -> (recogniser, history)` made of the plan that dev prefers, and what that plan chose.

    The first of equals counts, which is the recipe's own. Without a dev score there is nothing to choose by.
    """
    lists = choices.lists()
    chosen = {key: values[0] for key, values in lists.items()}
    best, history = train(with_values(plan, chosen))
    score = best_on_dev(history)
    if score == float("-inf"):
        return best, chosen
    for key, values in lists.items():
        for value in values[1:]:
            it, history = train(with_values(plan, chosen | {key: value}))
            if (found := best_on_dev(history)) > score:
                best, score, chosen[key] = it, found, value
    return best, chosen
