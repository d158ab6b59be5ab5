"""How a backbone becomes a recogniser: the settings of `sottovoce finetune`, a class for each of its modes.

frozen  the linear probe alone: pooled states of the frozen backbone, one penalised linear layer
full    the same probe first; then everything is trained from there (LP-FT, Kumar et al. 2022, arXiv:2202.10054)
probe   a published head, trained by gradient steps on frozen states (SUPERB, EmoBox)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from sottovoce.config.ranges import Count, NotNegative, Positive, Range, Settings, Share, ShareBelow1, Whole
from sottovoce.config.training import Training
from sottovoce.errors import InputError

Loss = Literal["ce", "amsoftmax", "l1", "huber", "ccc", "auto"]
Dev = Literal["fold", "share", "superb", "test"]


@dataclass(frozen=True, kw_only=True)
class Shared(Settings, group="finetune"):
    """Settings of every mode."""

    # Who chooses: the fold's own dev speakers; "share": a fifth of the labels that are counted, of other speakers where
    # there are several; "superb": a random 20 % of train and dev, speakers shared; or "test", which only measures how
    # much choosing on the test part flatters.
    dev: Dev = "fold"
    depth: Whole = 0  # blocks of the backbone that are used, from the bottom, at most; 0 = all
    loss: Loss = "auto"  # of classes "ce" (auto) or "amsoftmax"; of regression "huber" (auto), "l1" or "ccc"
    select: str = ""  # score of dev that chooses, e.g. mae; "" = UA of classes (of a published head WA), CCC of numbers
    soft_labels: bool = True  # classes: learn from the raters' shares where the corpus has them, not from the majority
    class_weights: bool = True  # inverse class frequency in the training part
    label_smoothing: ShareBelow1 = 0.1  # share of a label that all classes get alike


@dataclass(frozen=True, kw_only=True)
class Linear(Shared):
    """Pooled states and the linear layer on them."""

    renamed: ClassVar[dict[str, str]] = {
        "use": "layer_aggregation",
        "pool": "temporal_pooling",
        "embedding": "embedding_norm",
        "strengths": "l2",
    }

    layers: tuple[Whole, ...] = ()  # hidden layers that are pooled, 1 = the first block, 0 = its input; () = all
    layer_aggregation: Literal["concat", "weighted", "last"] = "concat"  # side by side, a learned sum, or the last
    # Over time: mean and deviation, of all states alike or by how likely each is speech (where the encoder tells), or
    # with the deviation of change beside them; the mean alone; a learned weighting.
    temporal_pooling: Literal["statistics", "speech", "dynamics", "mean", "attentive"] = "dynamics"
    # Pooled features standardised by the training part, or by each "speaker"'s own recordings.
    embedding_norm: Literal["corpus", "speaker"] = "corpus"
    speaker_prior: NotNegative = 2.0  # recordings of an average speaker beside each speaker's own, where few are there
    copies: Whole = 0  # changed ones of every training recording, for the linear layer
    change: Literal["channel", "speed"] = "channel"  # of copies: noise, rooms, lines and codecs; or faster and slower
    l2: tuple[Positive, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # penalties of the linear layer; dev chooses

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.l2:
            raise InputError("finetune.l2: one or more penalties. Found none.")


@dataclass(frozen=True, kw_only=True)
class Frozen(Linear):
    mode: Literal["frozen"] = "frozen"  # the linear layer alone; others: full, probe
    discriminant: Share = 0.0  # of a shrunken linear discriminant in the layer, classes only; the rest is logistic
    gate: bool = False  # copies teach a layer of their own; another tells from a recording which of the two answers
    refit: bool = False  # when dev has chosen the penalty, solve once more on training and dev part together
    # How much the unlabelled recordings of the training part count together, beside the labels, under classes that a
    # layer gives them once the voices are taken out; 0 = not at all. Only where speakers have several classes.
    self_training: NotNegative = 0.0
    sources: tuple[str, ...] = ()  # corpora, or runs, whose layers say what to begin with; classes only
    seed: Whole = 0  # of weights and order

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "amsoftmax":
            raise InputError(
                "finetune.loss: 'amsoftmax' does not go with mode 'frozen', whose output layer is solved and has no "
                "margin. Use mode full or probe."
            )

    @property
    def gated(self) -> bool:
        """Whether there are two layers: of other speeds one learns as well as of recordings as they are."""
        return self.gate and self.copies > 0 and self.change == "channel"


@dataclass(frozen=True, kw_only=True)
class Full(Linear):
    renamed: ClassVar[dict[str, str]] = Linear.renamed | {
        "hide_time": "mask_time",
        "hide_span": "mask_span",
        "hide_features": "mask_features",
        "hide_width": "mask_width",
    }

    mode: Literal["full"] = "full"  # everything is trained; others: frozen, probe
    scale: Positive = 30.0  # of the cosines of "amsoftmax"
    margin: Annotated[float, Range(least=0, below=2)] = 0.2  # by which the right cosine is ahead; 0 = scaled cosines
    layer_decay: Positive = 1.0  # lr factor from each block to the one below it
    head_lr: NotNegative = 1.0  # lr factor of pooling and output layer
    freeze_blocks: int = 0  # blocks from the bottom (and the input) that stay as they are; -2 = all but the top two
    freeze_front: bool = True  # the convolutions of an encoder stay as they are
    lora: Whole = 0  # rank of adapters to the attention of an encoder, whose own weights stay; 0 = none
    mask_time: ShareBelow1 = 0.0  # share of an encoder's states replaced by its mask vector, as in wav2vec 2.0
    mask_span: Count = 10  # states a span
    mask_features: ShareBelow1 = 0.0  # share of its features that are zero throughout an utterance
    mask_width: Count = 64  # features a block
    time_masks: Whole = 0  # SpecAugment (arXiv:1904.08779) in time, masks per utterance
    time_mask_s: NotNegative = 0.3  # longest, seconds
    feature_masks: Whole = 0  # and in the features
    feature_mask: Share = 0.15  # longest, share of the features
    dropout: ShareBelow1 = 0.3  # of pooled features
    mixup: NotNegative = 0.0  # alpha of the Beta distribution (arXiv:1710.09412); 0 = off
    training: Training = field(
        default_factory=lambda: Training(
            epochs=10,
            min_updates=150,
            lr=1e-3,
            warmup=0.1,
            batch_s=32.0,
            batch_rows=16,
            weight_decay=0.01,
            ema=0.98,
            time_stretch=0.1,
        )
    )

    @property
    def seed(self) -> int:
        return self.training.seed


@dataclass(frozen=True, kw_only=True)
class Probe(Shared):
    """SUPERB's emotion task (arXiv:2105.01051), with the values of s3prl's `downstream/emotion/config.yaml` except
    where it says "ours"."""

    renamed: ClassVar[dict[str, str]] = {"use": "layer_aggregation"}

    mode: Literal["probe"] = "probe"  # a published head on frozen states; others: full, frozen
    scale: Positive = 30.0  # of the cosines of "amsoftmax"
    margin: Annotated[float, Range(least=0, below=2)] = 0.2  # by which the right cosine is ahead
    layer_aggregation: Literal["weighted", "last"] = "weighted"  # a learned sum; or the last (EmoBox, emotion2vec)
    project: Count = 256  # units of the projector
    activation: Literal["none", "relu"] = "none"  # behind the projector; "relu" is EmoBox's and emotion2vec's
    lrs: tuple[Positive, ...] = (1e-4, 1e-3, 1e-2)  # of Adam, no schedule; s3prl's own is 1e-4, dev chooses (ours)
    updates: Count = 30_000  # most; IEMOCAP's four sessions less dev are then seen 266 to 280 times
    epochs: Count = 280  # ours: most passes over the training part, so that a small corpus is not seen more often
    batch: Count = 32  # utterances an update: 4, accumulated 8 times
    readings: Count = 30  # of the dev score, evenly spaced: every 1,000 updates of 30,000
    patience: Whole = 5  # ours: readings without a better score that end a learning rate; 0 = go on, as s3prl
    clip: Positive = 1.0  # largest gradient norm
    seed: Whole = 0  # of weights and order

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lrs:
            raise InputError("finetune.lrs: learning rates above 0, one or more. Found none.")

    @property
    def embedding_norm(self) -> str:
        return "corpus"  # the published protocol standardises nothing


NOTHING_STANDARDISED = (
    "finetune.embedding_norm: 'speaker' does not go with mode 'probe', whose protocol standardises nothing. "
    "Leave --speaker-norm out, or use --mode frozen."
)
FineTuning = Full | Frozen | Probe
MODES: dict[str, type[Full] | type[Frozen] | type[Probe]] = {"full": Full, "frozen": Frozen, "probe": Probe}


def in_mode(settings: FineTuning, mode: str) -> FineTuning:
    """The same settings in another mode: what both have is kept, the rest begins at its defaults.

    Raises InputError for an unknown mode, and where what is kept does not go with it.
    """
    if mode not in MODES:
        raise InputError(f"finetune.mode: one of {', '.join(MODES)}. Found {mode!r}.")
    if mode == settings.mode:
        return settings
    if mode == "probe" and settings.embedding_norm == "speaker":
        raise InputError(NOTHING_STANDARDISED)
    kind = MODES[mode]
    names = {f.name for f in fields(kind)} & {f.name for f in fields(settings)} - {"mode"}
    if "probe" in (mode, settings.mode):  # its head is a published one, no other's
        names -= {"layer_aggregation"}
    kept = {name: getattr(settings, name) for name in names}
    if mode == "full" and kept.get("temporal_pooling") == "speech":
        kept["temporal_pooling"] = "statistics"  # what tells speech has learned from blocks that are changed now
    return seeded(kind(**kept), settings.seed)


def adapted(settings: FineTuning, tree: Mapping[str, Any]) -> tuple[FineTuning, dict[str, Any], list[str]]:
    """Before keys of a tree are set: the settings in the mode that it names, its keys that this mode has, and those
    it has not (they belong to another mode, or to the group `probe` that earlier versions had)."""
    tree = dict(tree)
    head = tree.pop("probe", None)
    settings = in_mode(settings, str(tree.pop("mode", settings.mode)))
    if settings.mode == "probe" and isinstance(head, Mapping):
        tree |= head
    own = {f.name for f in fields(settings)} | set(settings.renamed)
    others = {name for kind in MODES.values() for name in (*(f.name for f in fields(kind)), *kind.renamed)} | {"probe"}
    if "speaker" in (tree.get("embedding_norm"), tree.get("embedding")) and settings.mode == "probe":
        raise InputError(NOTHING_STANDARDISED)
    idle = [key for key in tree if key not in own and key in others]
    idle += ["probe"] * (head is not None and settings.mode != "probe")
    return settings, {key: value for key, value in tree.items() if key not in idle}, idle


def seeded(settings: FineTuning, seed: int) -> FineTuning:
    """The same settings with another seed."""
    if isinstance(settings, Full):
        return replace(settings, training=replace(settings.training, seed=seed))
    return replace(settings, seed=seed)


def of_earlier(values: dict[str, Any]) -> dict[str, Any]:
    """What the one class of earlier versions wrote, as the class of its mode: fields of other modes are left out, and
    the settings of the head are no group of their own any more."""
    mode = values.get("mode", "full")
    head, training = values.get("probe") or {}, values.get("training") or {}
    if mode == "probe":
        values = {k: v for k, v in values.items() if k not in ("use", "pool")} | head
    kept = {f.name for f in fields(MODES[mode])} | set(MODES[mode].renamed)
    seed = {} if mode == "full" else {"seed": training.get("seed", 0)}
    return {k: v for k, v in values.items() if k in kept} | seed
