"""Posterior: how probable every emotion is at every frame, by a fine-tuned model; a column a class.

    sottovoce finetune data/ravdess --init runs/hubert --set finetune.temporal_pooling=mean -o runs/ft
    sottovoce extract data/iemocap --track posterior --model runs/ft

One utterance holds several emotions (GMP-TL, arXiv:2405.02151): the last layers of the model are applied to the
states around each frame instead of the whole utterance, see `network.frame_posteriors`. The states have seen the
utterance, so a frame is judged in its context. When in an utterance an emotion occurs, no label says: labels are
those of utterances.
"""

from dataclasses import dataclass
from typing import Any

from sottovoce.config.ranges import NotNegative, Positive, Settings
from sottovoce.errors import InputError

KIND = "finetune"  # of the runs that can make it


@dataclass(frozen=True)
class Config(Settings, group="track"):
    """`window_s` may be set; the rest is filled in by `sottovoce extract --model`."""

    window_s: NotNegative = 0.0  # seconds that are pooled; 0 = one state where the model takes a mean, 1 s elsewhere
    rate_hz: Positive = 50.0  # of the model's states
    classes: tuple[str, ...] = ()  # the columns
    model: str = ""  # digest of the weights
    made_by: str = ""  # "hubert fold1", for people
    heard: tuple[str, ...] = ()  # the model's `seen_speakers`

    @property
    def dim(self) -> int:
        return max(len(self.classes), 1)


def about(it: Any, rate_hz: float) -> dict[str, Any]:
    """What Config says of a fine-tuned model (`models.Recognised`) whose states come at this rate.

    Raises InputError when the model cannot make this track.
    """
    where = it.run.folder if it.run else "model"
    if it.task.kind != "class":
        raise InputError(
            f"{where}: predicts {', '.join(it.task.target)}. posterior needs a model of classes. "
            "Use `sottovoce predict --timeline` for regression predictions over time."
        )
    if it.plan.per_speaker:
        raise InputError(
            f"{where}: standardises per speaker, so that no recording has an answer of its own. posterior needs a "
            "model without --speaker-norm. Or use `sottovoce predict --timeline` on a folder a speaker."
        )
    return {"rate_hz": rate_hz, "classes": tuple(it.task.classes)}
