"""What the tests of the middle learn from: a track store in memory, the steps made of it, small networks."""

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import torch

from sottovoce import plugins
from sottovoce.config.frontend import Frontend
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics


class ToyStore(dict):
    """utterance id -> (T, F) float32; notes which rows were asked for."""

    def __init__(self, arrays, rate_hz=100.0, offset_s=0.0):
        super().__init__({k: np.asarray(v, dtype=np.float32) for k, v in arrays.items()})
        self.rate_hz, self.offset_s, self.dim = rate_hz, offset_s, next(iter(self.values())).shape[1]
        self.lengths = {k: len(v) for k, v in self.items()}
        self.read, self.head = [], SimpleNamespace(track="")

    def source(self, key):
        return None

    def __getitem__(self, key):
        self.read.append(key)
        return super().__getitem__(key)

    @property
    def utterances(self):
        """Speakers alternate: u0 of s0, u1 of s1, u2 of s0, ..."""
        return [Utterance(key, "toy", "", speaker=f"s{k % 2}") for k, key in enumerate(self)]


def waves(n=8, features=6, shortest=12, longest=40, seed=0):
    """Utterances one can learn from: slow sinusoids in all features, so that a frame's neighbours tell of it."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((3, features))
    arrays = {}
    for k in range(n):
        length = int(rng.integers(shortest, longest + 1))
        phase = np.arange(length)[:, None] * rng.uniform(0.05, 0.4, 3) + rng.uniform(0, 6, 3)
        arrays[f"u{k}"] = np.sin(phase) @ mix + 0.05 * rng.standard_normal((length, features))
    return ToyStore(arrays)


def steps_of(store, statistics=None, aux=None, **frontend):
    """All utterances of a store as steps, with statistics of all of them; aux is {name: (store, align)}."""
    frontend = Frontend(**({"subsampling": 1} | frontend))
    steps = Steps([(store, store.utterances)], frontend, Statistics(np.zeros(store.dim), np.ones(store.dim)))
    given = {name: ([other], align) for name, (other, align) in (aux or {}).items()}
    return Steps([(store, store.utterances)], frontend, statistics or steps.fit_statistics(), given)


def murmurs(store, rate_hz=62.5, seed=0):
    """An intensity (T', 1) of every utterance of a store, smooth and on a clock of its own."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for key, length in store.lengths.items():
        t = np.arange(max(round(length * rate_hz / store.rate_hz), 1))[:, None] / rate_hz
        arrays[key] = 0.5 + 0.4 * np.sin(2 * np.pi * rng.uniform(3, 6) * t + rng.uniform(0, 6))
    return ToyStore(arrays, rate_hz)


FEATURES = 7  # what `small` backbones read
SMALL = {"width": 32, "layers": 2, "heads": 4, "feedforward": 64, "dropout": 0.0}
SMALL |= {"channels": (2, 3, 4, 8)}  # strengthnet: 4 x 8 = 32

# Encoders have laws of their own (test_encoders, test_whisper), plain has next to none.
ON_STEPS = [name for name in plugins.names("backbones") if name not in ("encoder", "whisper", "plain")]


def small(name, seed=0, **more):
    """A backbone of a size that runs in a millisecond; sets those of SMALL that its Config has."""
    module = plugins.load("backbones", name)
    known = {f.name for f in fields(module.Config)}
    torch.manual_seed(seed)
    return module.Backbone(
        replace(module.Config(), **{k: v for k, v in (SMALL | more).items() if k in known}), FEATURES
    )


# Settings of small networks, by objective.
SMALL_BACKBONES = {
    "mockingjay": ("backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.feedforward=64"),
    "npc": ("backbone.width=32", "backbone.layers=2", "objective.codes=8"),
}
SMALL_STRENGTHNET = (
    "backbone.channels=2,2,2,8",
    "backbone.frequencies=27",
    "objective.lstm=4",
    "objective.dense=4",
    "objective.functionals=fbank",
    "training.epochs=2",
    "training.lr=0.003",
    "training.accumulate=1",
)
