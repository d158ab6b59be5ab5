"""What a maker of a track offers. One file is one maker, of one of three kinds; it fills in the names below.

    from a recording    make(wave, config) -> Track
    from another track  SOURCE, derive(source, utterances, corpus, config) -> (id, values) ...
    from a trained run  OBJECTIVE, frames(model, x, lengths), of a run whose own layers were kept; or
                        KIND, about(model, rate_hz), the posteriors of a fine-tuned run at every frame

and `Config`, a frozen dataclass with `rate_hz` and `dim`. The Config of a run's track also has `model` (digest of the
weights), `made_by` and `heard` (its `seen_speakers`), which `sottovoce extract --model` fills in.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sottovoce import plugins
from sottovoce.data.track import Track


@dataclass(frozen=True)
class Maker:
    """The module of a track as others see it: what a file leaves out has its default here."""

    name: str
    Config: Any  # the dataclass
    make: Callable[[Track, Any], Track] | None = None  # of a recording: mono float32 at 16 kHz
    derive: Callable[..., Iterator[tuple[str, np.ndarray]]] | None = None  # of the track SOURCE
    # By the objective of a run, (model, x (B, S, D), lengths) -> (B, S, dim); with WHOLE of a recording, (wave, config)
    # -> values, their times, and which of them are defined.
    frames: Callable[..., Any] | None = None
    about: Callable[[Any, float], dict[str, Any]] | None = None  # what Config says of a fine-tuned model
    SOURCE: str = ""  # name of the track it is derived from
    OBJECTIVE: str = ""  # of the runs that can make it
    KIND: str = ""  # of the runs that can make it: "finetune"
    VERSION: int = 1  # one more when its values change for the same Config
    WHOLE: bool = False  # its values are statistics of a whole recording: utterances are cut out of the track
    PER_SPEAKER: bool = False  # a new recording of a speaker changes the rows of all their others
    HALF: bool = False  # kept as float16 unless asked otherwise
    NAMES: tuple[str, ...] = ()  # of the columns
    CITATION: str = ""  # for files that leave the house; default: the first line
    log_energies: Callable[[np.ndarray], np.ndarray] | None = None  # how loud frames are, where values do not say it
    bounds: Callable[[np.ndarray], tuple[int, int]] | None = None  # between which rows it is not silent, where it knows
    TRIMS_NOISE: bool = False  # ends that hold nothing but noise are silent too, see `frames.loud_bounds`
    MAKER: str = ""  # the module that has `make` and `settle`, where they take torch
    settle: Callable[..., Any] | None = None  # (config) -> config with what the caller cannot know

    @property
    def run_kind(self) -> str:
        """Kind of the run that makes it, "" where none does."""
        return self.KIND or ("pretrain" if self.OBJECTIVE else "")


def maker(name: str) -> Maker:
    """The maker of a name. Raises InputError naming the closest match when there is none."""
    name = plugins.current("tracks", name)
    offered = plugins.track_parts(name)
    return Maker(name, **{f.name: offered[f.name] for f in fields(Maker) if f.name != "name" and f.name in offered})
