"""`load` and `Recogniser`: a trained model that hears recordings of any length, and streams; see `hearing.py`.

Where a run has several folds, their models vote with the mean of their answers.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sottovoce.data import audio, runs
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.inference import publish
from sottovoce.inference.hearing import LONGEST_S, Hearing
from sottovoce.inference.seen import Heard
from sottovoce.inference.voter import Speaker, Voter
from sottovoce.modeling import network as models
from sottovoce.modeling.network import Recognised
from sottovoce.tracks import base as tracks

DEFAULT_MODEL = Path(__file__).parents[1] / "weights" / "default_model"
FAMILY = 200  # recordings of a speaker that make their statistics


def load(model: Path | str | None = None, labels: Sequence[str] = (), vad: str = "auto") -> "Recogniser":
    """A fine-tuned run, or one fold of it; None is the model of this package. The rest as in `load.load`."""
    if model is None and not DEFAULT_MODEL.is_dir():
        raise InputError(
            "default model: this version has none. Found no model in its folder weights/. Name a folder written by "
            "`sottovoce finetune`: sottovoce predict --model runs/ft FILES, or sottovoce.load('runs/ft')."
        )
    found = [models.load_recognised(run) for run in runs.parts(DEFAULT_MODEL if model is None else model, "finetune")]
    return Recogniser(found, labels, vad)


class Recogniser(Hearing):
    """`load()("talk.mp3")`: any length, rate, channel count and container.

    Args:
        models: one or more fine-tuned networks of the same task and features; the mean of their answers counts.
        labels, vad: as in `Hearing`.
    """

    def __init__(self, models: Sequence[Recognised], labels: Sequence[str] = (), vad: str = "auto"):
        first = models[0]
        for m in models:
            if (m.task, m.plan.track, m.plan.track_config, m.plan.per_speaker) != (
                first.task, first.plan.track, first.plan.track_config, first.plan.per_speaker
            ):  # fmt: skip
                where = m.run.folder if m.run else "model"
                raise InputError(
                    f"{where}: another task, track or normalisation than its neighbours. Models that vote together "
                    "have to read the same features. Name one fold's folder."
                )
        voters: list[Voter] = [Voter(m) for m in models]
        super().__init__(voters, first.task, labels, vad, tracks.maker(first.plan.track).WHOLE)
        self.models, self.plan, self.run = list(models), first.plan, first.run
        self.per_speaker, self.heard = first.plan.per_speaker, Heard([m.run for m in models])

    def frames(self, wave: Track) -> Track:
        """(T, F) track frames of a waveform. Raises InputError when the model cannot hear a recording."""
        if self.plan.track == "covarep" and self.plan.frontend.subsampling == 1:
            raise InputError(
                "track covarep: the model was trained on word-aligned features, so it cannot read a recording. Found "
                "one step a frame (frontend.subsampling=1). Use a model trained on frames, or `sottovoce evaluate`."
            )
        make = tracks.maker(self.plan.track).make
        if make is None:
            raise InputError(
                f"track {self.plan.track}: is not made of one recording alone, so the model cannot hear one. Use a "
                "model of another track, or `sottovoce evaluate`."
            )
        return make(wave, self.plan.track_config)

    @property
    def identities(self) -> list[str]:
        return [m.run.identity for m in self.models if m.run]

    def about(self) -> dict[str, Any]:
        config = self.run.config if self.run else {}
        return {"name": self.run.folder.name if self.run else "", "identity": config.get("identity", ""),
                "track": self.plan.track, "labels": list(self.names), "voters": len(self.voters),
                "licence": config.get("licence", "")}  # fmt: skip

    def save_pretrained(
        self, folder: Path | str, *, licence: str, data: Sequence[str], languages: Sequence[str] = ()
    ) -> None:
        """Write the four files of the hub's layout, see `publish`. Raises InputError: no licence, no data, or folds."""
        publish.save(self._one(), folder, publish.Provenance(licence, tuple(data), tuple(languages)))

    def push_to_hub(
        self, name: str, *, licence: str, data: Sequence[str], languages: Sequence[str] = (), private: bool = False
    ) -> str:
        """Upload as "user/name", see `publish.push`; returns where it is."""
        told = publish.Provenance(licence, tuple(data), tuple(languages))
        with tempfile.TemporaryDirectory(prefix="sottovoce-") as place:
            return publish.push(self._one(), Path(place) / "model", name, told, private=private)

    def _one(self) -> Recognised:
        if len(self.models) > 1:
            raise InputError(f"{len(self.models)} folds, and a published model is one. Load one fold's folder.")
        return self.models[0]

    def speaker(self, paths: Sequence[Path]) -> Speaker | None:
        if not self.per_speaker:
            return None
        waves = [audio.read(p, 0.0, min(LONGEST_S, audio.probe(p).duration_s)) for p in paths[:FAMILY]]
        return Speaker(Voter(self.models[0]), [self.frames(wave).values for wave in waves])

    def unheard(self, path: Path) -> tuple[list[int], str]:
        return self.heard.unheard(path)
