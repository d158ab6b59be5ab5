"""How a backbone becomes a recogniser: every setting of `sottovoce finetune`, apart from the loop's own."""

from dataclasses import dataclass, field

from sottovoce.errors import InputError
from sottovoce.modeling.training import Config as Training

CHOICES = {
    "mode": ("full", "frozen", "probe"),
    "dev": ("fold", "superb", "test"),
    "use": ("concat", "weighted", "last"),
    "pool": ("statistics", "dynamics", "mean", "attentive"),
    "embedding": ("corpus", "speaker"),
    "loss": ("ce", "amsoftmax", "l1", "huber", "ccc", "auto"),
}


@dataclass(frozen=True)
class Probe:
    """The head of mode "probe" and how it is trained: SUPERB's emotion task (arXiv:2105.01051), with the numbers of
    s3prl's `downstream/emotion/config.yaml` except where it says "ours"."""

    use: str = "weighted"  # layers: learned weighted sum; or "last" (EmoBox, emotion2vec)
    project: int = 256  # units of the projector
    activation: str = "none"  # behind the projector; or "relu" (EmoBox, emotion2vec)
    lrs: tuple[float, ...] = (1e-4, 1e-3, 1e-2)  # of Adam, without a schedule; s3prl's own is 1e-4, dev chooses (ours)
    updates: int = 30_000  # most; IEMOCAP's four sessions less dev are then seen 266 to 280 times
    epochs: int = 280  # ours: most passes over the training part, so that a small corpus is not seen more often
    batch: int = 32  # utterances an update: 4, accumulated 8 times
    readings: int = 30  # of the dev score, evenly spaced: every 1,000 updates of 30,000
    patience: int = 5  # ours: readings without a better score that end a learning rate; 0 = go to the end, as s3prl
    clip: float = 1.0  # largest gradient norm
    select: str = "wa"  # dev score that chooses learning rate and update; or "ua". Numbers: always MAE

    def __post_init__(self) -> None:
        choices = {"use": ("weighted", "last"), "activation": ("none", "relu"), "select": ("wa", "ua")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"finetune.probe.{name}: one of {', '.join(allowed)}. Found {getattr(self, name)!r}.")
        for name in ("project", "updates", "epochs", "batch", "readings"):
            if getattr(self, name) < 1:
                raise InputError(f"finetune.probe.{name}: 1 or more. Found {getattr(self, name)}.")
        if not self.lrs or not all(lr > 0 for lr in self.lrs):
            raise InputError(f"finetune.probe.lrs: learning rates above 0, one or more. Found {self.lrs}.")


@dataclass(frozen=True)
class FineTuning:
    """A linear probe on pooled frozen states first; then, in mode "full", everything is trained from there
    (LP-FT, Kumar et al. 2022, arXiv:2202.10054). Mode "probe" trains the head of `probe` on frozen states instead."""

    mode: str = "full"  # "full", "frozen": the linear probe alone, or "probe": a published head, see `probe`
    # Who chooses: the fold's own dev speakers; "superb": a random 20 % of train and dev, speakers shared; or "test",
    # which only measures how much choosing on the test part flatters.
    dev: str = "fold"
    depth: int = 0  # blocks of the backbone that are used, from the bottom, at most; 0 = all
    use: str = "concat"  # layers: "concat", "weighted" (learned sum) or "last"
    pool: str = "dynamics"  # over time: mean, deviation and deviation of change; or "statistics", "mean", "attentive"
    embedding: str = (
        "corpus"  # pooled features standardised by the training part, or by each "speaker"'s own recordings
    )
    strengths: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the probe's L2; dev chooses
    loss: str = "auto"  # "ce" for classes, "l1" for numbers; or "amsoftmax" for classes, "huber", "ccc" for numbers
    scale: float = 30.0  # of the cosines of "amsoftmax"
    margin: float = 0.2  # by which the right cosine has to be ahead; 0 = cross-entropy of scaled cosines
    class_weights: bool = True  # inverse class frequency in the training part
    label_smoothing: float = 0.1
    layer_decay: float = 1.0  # lr factor from each block to the one below it
    head_lr: float = 1.0  # lr factor of pooling and output layer
    freeze_blocks: int = 0  # blocks from the bottom (and the input) that stay as they are; -2 = all but the top two
    freeze_front: bool = True  # the convolutions of an encoder stay as they are
    lora: int = 0  # rank of adapters to the attention of an encoder, whose own weights stay; 0 = none
    hide_time: float = 0.0  # share of an encoder's states put behind its mask vector, as wav2vec 2.0 augments
    hide_span: int = 10  # states a span
    hide_features: float = 0.0  # share of its features that are zero throughout an utterance
    hide_width: int = 64  # features a block
    time_masks: int = 0  # SpecAugment (arXiv:1904.08779) in time, masks per utterance
    time_mask_s: float = 0.3  # longest, seconds
    feature_masks: int = 0  # and in the features
    feature_mask: float = 0.15  # longest, share of the features
    dropout: float = 0.3  # of pooled features
    mixup: float = 0.0  # alpha of the Beta distribution (arXiv:1710.09412); 0 = off
    probe: Probe = field(default_factory=Probe)  # of mode "probe" alone
    training: Training = field(
        default_factory=lambda: Training(
            epochs=10,
            min_updates=150,
            lr=1e-3,
            warmup=0.1,
            batch_steps=800,
            batch_rows=16,
            weight_decay=0.01,
            ema=0.98,
            time_stretch=0.1,
        )
    )

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"finetune.{name}: one of {', '.join(allowed)}. Found {getattr(self, name)!r}.")
        for name in ("hide_time", "hide_features"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"finetune.{name}: a share, 0 <= share < 1. Found {getattr(self, name)}.")
        for name, least in (("hide_span", 1), ("hide_width", 1), ("lora", 0)):
            if getattr(self, name) < least:
                raise InputError(f"finetune.{name}: {least} or more. Found {getattr(self, name)}.")
        if not self.scale > 0:
            raise InputError(f"finetune.scale: of cosines, above 0. Found {self.scale}.")
        if not 0 <= self.margin < 2:
            raise InputError(f"finetune.margin: between cosines, 0 to below 2. Found {self.margin}.")
        if self.mode == "frozen" and self.loss == "amsoftmax":
            raise InputError(
                "finetune.loss: 'amsoftmax' does not go with mode 'frozen', whose output layer is solved and has no "
                "margin. Use mode full or probe."
            )
        if self.mode == "probe" and self.embedding == "speaker":
            raise InputError(
                "finetune.embedding: 'speaker' does not go with mode 'probe', whose protocol standardises nothing. "
                "Leave --speaker-norm out, or use --mode frozen."
            )
