"""What a reader of a corpus offers. One file is one corpus; it fills in the names below, `utterances` at least.

Its docstring's first line is for `sottovoce list corpora`, then come source, licence, size, labels and citation. The
keyword arguments of `utterances`, `folds` and `download` are its options on the command line, see `_options`; four are
handed in by `prepare` to the readers that take them: `relabel` (--map and --drop), `into` (a folder for recordings that
lie inside a table), `base_url` and `progress`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from sottovoce import plugins
from sottovoce.corpora import _split
from sottovoce.data.corpus import Fold, Kind, Utterance
from sottovoce.data.track import Track


@dataclass(frozen=True)
class Reader:
    """The module of a corpus as others see it: what a file leaves out has its default here."""

    name: str
    utterances: Callable[..., Sequence[Utterance]]  # (root, **options)
    # (utterances, **options), [] when there is nothing to predict; by the label "split", else by speaker
    folds: Callable[..., Sequence[Fold]] = _split.folds
    # (root, utterances, **options): what the data report should say
    problems: Callable[..., Sequence[str]] = lambda root, utterances: ()
    # (utterances): the same of its own folds, said only where they are used
    fold_notes: Callable[[Sequence[Utterance]], Sequence[str]] = lambda utterances: ()
    LICENCE: str = "unknown"
    SOURCE: str = "unknown"
    TARGET: tuple[str, ...] = ("emotion",)  # the label(s) one would predict; () when there are none
    KINDS: Mapping[str, Kind] = field(default_factory=dict)  # of labels; others are told by their values
    CLASSES: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # order of classes
    RANGES: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # lowest and highest of numbers
    # (root, *, base_url, progress, ...) -> what came and whether it was verified, where the licence allows it
    download: Callable[..., list[dict]] | None = None
    locate: Callable[[str], Path | None] | None = None  # a name -> the folder where it is kept on this machine
    generate_into: Callable[..., None] | None = None  # (root, **options), for a corpus that is made, not found
    TRACKS: tuple[str, ...] = ()  # of a corpus that comes as encoded features instead of audio
    # (root, utterances, name) -> (id, track) ...
    read_track: Callable[[Path, Sequence[Utterance], str], Iterator[tuple[str, Track]]] = lambda *_: iter(())


def reader(name: str) -> Reader:
    """The reader of a name. Raises InputError naming the closest match when there is none."""
    offered = vars(plugins.load("corpora", name))
    return Reader(name, **{f.name: offered[f.name] for f in fields(Reader) if f.name != "name" and f.name in offered})
