"""Settings of the training loop, for pre-training and fine-tuning alike."""

from dataclasses import dataclass
from typing import Literal

from sottovoce.config.ranges import Count, NotNegative, Positive, Settings, Share, ShareBelow1, Whole


@dataclass(frozen=True)
class Training(Settings, group="training"):
    epochs: Whole = 100  # passes over the training part
    min_updates: Whole = 0  # more epochs where there is so little data that `epochs` make fewer updates
    lr: Positive = 1e-3  # peak, after warm-up
    warmup: Share = 0.07  # share of all updates with rising lr, then a cosine down to 0
    weight_decay: NotNegative = 1e-4  # of AdamW
    batch_s: Positive = 320.0  # most padded seconds a batch
    batch_rows: Count = 64  # most utterances a batch
    balanced: bool = False  # an epoch has as many utterances of every class; then no class weights
    crop_s: NotNegative = 0.0  # longer utterances are cut to so many seconds, elsewhere every epoch; 0 = never
    time_stretch: NotNegative = 0.0  # augmentation: utterances up to exp(+-this) faster or slower
    feature_stretch: NotNegative = 0.0  # and stretched along the mel axis; only for features that have one
    accumulate: Count = 1  # batches per update
    clip: NotNegative = 1.0  # largest gradient norm; 0 = no clipping
    ema: ShareBelow1 = 0.0  # decay per update of averaged weights; 0 = off
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16 for devices that have it
    validate_every: Count = 1  # epochs from one dev score to the next
    patience: Whole = 0  # validations without a better score before stopping; 0 = never stop early
    save_every: NotNegative = 60.0  # seconds between checkpoints
    seed: Whole = 0  # of weights, order and whatever else is drawn

    def batch_frames(self, rate_hz: float) -> int:
        """Most padded frames a batch, at so many of the backbone's frames a second."""
        return max(round(self.batch_s * rate_hz), 1)

    def crop_frames(self, rate_hz: float) -> int | None:
        """Frames that longer utterances are cut to; None = none is."""
        return max(round(self.crop_s * rate_hz), 1) if self.crop_s else None
