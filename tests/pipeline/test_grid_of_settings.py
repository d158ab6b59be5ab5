"""The same freedom for every arm: what dev chooses from a small grid, and what it costs."""

import pytest

from sottovoce.config import recipe
from sottovoce.config.finetuning import Frozen, Probe, in_mode
from sottovoce.errors import InputError
from sottovoce.pipeline.tuning import NOTHING, Choices, tuned

PLAN = recipe.resolve("masked_timesteps")


def training(best):
    """A training whose dev score is how many settings are those of `best`; notes what was tried."""
    tried = []

    def train(plan):
        tuning = plan.finetune
        tried.append(own := {"lr": tuning.training.lr, "epochs": tuning.training.epochs, "depth": tuning.depth})
        score = sum(own[key] == value for key, value in best.items())
        return own, {"probe": [{"select": -1.0}], "epochs": [{"select": float(score)}]}

    return train, tried


@pytest.mark.parametrize("best", [{"lr": 0.003, "epochs": 20, "depth": 0}, {"lr": 0.001, "epochs": 10, "depth": 2}])
def test_the_planted_best_is_found_in_as_many_trainings_as_are_printed(best):
    choices = Choices.of("small", PLAN)
    train, tried = training(best)
    found, chosen = tuned(PLAN, choices, train)
    assert found == chosen == best
    assert len(tried) == choices.trainings == 4
    assert str(choices) == ("4 trainings, dev chooses one after the other: lr 0.001, 0.003; epochs 10, 20; depth 2, 0")


def test_the_first_of_equals_counts_and_without_dev_nothing_is_tried():
    train, tried = training({})
    assert tuned(PLAN, Choices(lr=(0.1, 0.2)), train)[1] == {"lr": 0.1}
    assert len(tried) == 2
    tried.clear()
    assert tuned(PLAN, Choices(lr=(0.1, 0.2)), lambda plan: (train(plan)[0], {"probe": [{"strength": 1.0}]}))[1] == {
        "lr": 0.1
    }
    assert len(tried) == 1


def test_a_frozen_backbone_has_its_depth_to_choose_and_a_published_head_nothing():
    frozen = recipe.replace(PLAN, finetune=in_mode(PLAN.finetune, "frozen"))
    assert isinstance(frozen.finetune, Frozen)
    assert Choices.of("small", frozen).lists() == {"depth": (2, 0)}
    named = recipe.replace(PLAN, finetune=recipe.replace(frozen.finetune, layers=(2, 3)))
    assert Choices.of("small", named) == NOTHING
    assert Choices.of("lr=1,2 depth=1,2", frozen) == Choices(depth=(1, 2))
    assert Choices.of("small", recipe.replace(PLAN, finetune=Probe())) == NOTHING == Choices.of("none", PLAN)
    assert str(NOTHING) == "one training"


@pytest.mark.parametrize("text", ["large", "lr=", "lr=fast", "epochs=0,1", "depth=-1", "width=3", "epochs=1.5"])
def test_other_grids_are_refused(text):
    with pytest.raises(InputError, match="--tune"):
        Choices.of(text, PLAN)
