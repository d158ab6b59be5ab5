"""Corpora: one file is one corpus, and its name is the name on the command line.

A module offers

    docstring            first line for `sottovoce list corpora`, then source, licence, size, labels, citation
    LICENCE, SOURCE      strings
    TARGET               the label(s) one would predict, e.g. ("emotion",); () when there are none
    KINDS                {label: "class" | "number"}; labels not named here are told apart by their values
    CLASSES, RANGES      optional: order of classes, (lowest, highest) of numbers
    LABELS               optional: {word or code of the corpus: word of `corpus.EMOTIONS`}, what `--map` overrides
    utterances(root, **options) -> list[Utterance]     `relabel` is the option that carries --map and --drop
    folds(utterances) -> list[Fold]                    [] when there is nothing to predict
    problems(root, ...) -> list[str]                   optional: what the data report should say
    download(root, *, base_url, progress, ...) -> list[dict]          where the licence allows it
    TRACKS, read_track(root, utterances, name)         corpora that come as encoded features instead of audio
"""

from sottovoce import plugins

__path__ += plugins.elsewhere("corpora")  # files of one's own, see there
