"""How a backbone becomes a recogniser: every setting of `sottovoce finetune`, apart from the loop's own."""

from dataclasses import dataclass, field

from sottovoce.errors import InputError
from sottovoce.training import Config as Training

CHOICES = {
    "mode": ("full", "frozen"),
    "use": ("concat", "weighted", "last"),
    "pool": ("statistics", "dynamics", "mean", "attentive"),
    "embedding": ("corpus", "speaker"),
    "loss": ("ce", "l1", "huber", "ccc", "auto"),
}


@dataclass(frozen=True)
class FineTuning:
    """A linear probe on pooled frozen states first; then, in mode "full", everything is trained from there
    (LP-FT, Kumar et al. 2022, arXiv:2202.10054)."""

    mode: str = "full"  # "full", or "frozen": the probe alone
    depth: int = 0  # blocks of the backbone that are used, from the bottom, at most; 0 = all
    use: str = "concat"  # layers: "concat", "weighted" (learned sum) or "last"
    pool: str = "dynamics"  # over time: mean, deviation and deviation of change; or "statistics", "mean", "attentive"
    embedding: str = (
        "corpus"  # pooled features standardised by the training part, or by each "speaker"'s own recordings
    )
    strengths: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the probe's L2; dev chooses
    loss: str = "auto"  # "ce" for classes, "l1" for numbers; or "huber", "ccc"
    class_weights: bool = True  # inverse class frequency in the training part
    label_smoothing: float = 0.1
    layer_decay: float = 1.0  # lr factor from each block to the one below it
    head_lr: float = 1.0  # lr factor of pooling and output layer
    freeze_blocks: int = 0  # blocks from the bottom (and the input) that stay as they are
    time_masks: int = 0  # SpecAugment (arXiv:1904.08779) in time, masks per utterance
    time_mask_s: float = 0.3  # longest, seconds
    feature_masks: int = 0  # and in the features
    feature_mask: float = 0.15  # longest, share of the features
    dropout: float = 0.3  # of pooled features
    mixup: float = 0.0  # alpha of the Beta distribution (arXiv:1710.09412); 0 = off
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
