"""Masking policy: which frames a self-supervised objective has to predict. The rules are in `modeling/masking.py`."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from sottovoce import plugins
from sottovoce.config.ranges import Count, Positive, Range, Settings, Share
from sottovoce.errors import InputError

Rule = Literal["random", "ems_released", "ems_threshold", "ems_coverage", "ems_sampled"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Policy(Settings, group="objective"):
    """Settings of every objective that masks spans of frames."""

    ratio: Annotated[float, Range(above=0, below=1)] = 0.15  # share of valid steps that is masked
    span: Count = 1  # steps per span; 1 = single timesteps
    rule: Rule = "random"  # where the spans lie, see `modeling/masking.py`
    intensity: str = ""  # track that says how emotional a frame is: intensity, energy, random; "" = none
    # its frames to ours: interpolated; or "pad", zeros behind its end, as EMS was released
    align: Literal["linear", "pad"] = "linear"
    # ems_coverage, ems_sampled: a span is as strong as its first step, EMS's way; or its "mean"
    anchor: Literal["start", "mean"] = "start"
    threshold: float = 0.5  # of ems_threshold, in units of the track
    temperature: Positive = 0.5  # of ems_sampled, in deviations of an utterance's intensity; small = the strongest
    ramp: Share = 0.0  # share of training over which the utterances masked by the rule, not at random, grow to all

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "intensity", plugins.current("tracks", self.intensity))
        if self.rule != "random" and not self.intensity:
            raise InputError(
                f"objective.rule: {self.rule} prefers intense frames. Found no intensity track. "
                "Name one, e.g. --set objective.intensity=intensity, or energy, or random."
            )

    @property
    def needs(self) -> dict[str, tuple[str, str]]:
        """Auxiliary tracks a batch has to carry: name in `Batch.tracks` -> (track, how it is aligned)."""
        return {"intensity": (self.intensity, self.align)} if self.intensity else {}

    def check(self, longest: int) -> None:
        """Raises InputError when not even the longest utterance (steps) has room for a span, or a share for one."""
        if longest <= self.span:
            raise InputError(
                f"objective.span: {self.span} steps. Found utterances of at most {longest}. "
                "Use shorter spans, or more steps a second (--set frontend.subsampling)."
            )
        exact = self.rule not in ("ems_released", "ems_threshold")
        if self.span == 1 and exact:  # one step of each is masked all the same
            return
        if round(longest * self.ratio / self.span) < 1:
            raise InputError(
                f"objective.ratio: leaves no span. Found {self.ratio:g} of at most {longest} steps, less than half a "
                f"span of {self.span}. Use a ratio above {0.5 * self.span / longest:.2g}, or shorter spans."
            )
