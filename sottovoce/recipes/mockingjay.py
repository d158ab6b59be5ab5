"""MockingJay (arXiv:1910.12638): reconstruct masked spans of log-mel frames with a Transformer.

Liu, Yang, Chi, Hsu & Lee, ICASSP 2020; settings as in s3prl `pretrain/mockingjay` ("base") and, for the 3 layers, in
the EMS release. The 12 layers of the paper: `--set backbone.layers=12`; its linear target: `--set
objective.target=spectrogram`.

Run:     sottovoce pretrain mockingjay data/librispeech -o runs/mockingjay
         sottovoce finetune data/ravdess --init runs/mockingjay --recipe frozen_probe -o runs/probe
Needs:   nothing but recordings; at 3 x 768 a GPU
Time:    55 CPU seconds for 961 updates of 3 x 128 at 25 Hz, 156 for one of 3 x 768 at 32 x 1,500 frames (AMD EPYC);
         the release takes 1,000,000 updates of 16 utterances, here `training.epochs` decides
Expect:  RAVDESS, 24 unseen actors, frozen probe, 3 x 128, 961 updates: UA 0.366, random weights 0.338 (2026-11-26,
         docs/lab.md)
Read:    fbank 80 with two deltas, mean and deviation of the utterance; 3 x 768, 12 heads, feed-forward 3072, GELU,
         post-norm with eps 1e-12, sinusoidal positions, dropout 0.1, weights N(0, 0.02); spans of 7 frames, 15 %,
         to zero, to other frames or unchanged (80/10/10, one draw an utterance); L1 on masked frames; head of two
         layers; AdamW, lr 2e-4, warm-up 7 %, weight decay 0.01, clip 5, crops of 1,500 frames
Departs: spans do not overlap (release: they may, and mask less than 15 %); no dropout on attention weights (release:
         `--set backbone.attention_dropout=0.1`); a cosine down, not a line; the prediction head begins as PyTorch's;
         features beyond 10 deviations are cut off
Small:   in minutes it learns next to nothing post-norm with sinusoidal positions; `--set backbone.norm=pre
         backbone.positions=conv backbone.init_std=0 training.lr=2e-3` (four --set) made 3 x 128 learn (docs/lab.md)
"""

from sottovoce.config.frontend import Frontend
from sottovoce.config.recipe import Recipe
from sottovoce.config.training import Training


def recipe(track: str | None = None) -> Recipe:
    """Settings for a track; `None` = fbank with two deltas, 240 values a frame."""
    track = track or "fbank"
    shape = {"width": 768, "layers": 3, "heads": 12, "feedforward": 3072}
    return Recipe.of(
        "mockingjay", track, "transformer", "masked_timesteps",
        of_track={"deltas": 2} if track == "fbank" else {},
        of_backbone=shape | {"positions": "sinusoidal", "norm": "post", "eps": 1e-12, "init_std": 0.02},
        of_objective={"ratio": 0.15, "span": 7, "fill": "zero", "draw": "utterance", "head": 2},
        frontend=Frontend(subsampling=1, normalise="utterance"),
        training=Training(
            epochs=100, lr=2e-4, warmup=0.07, weight_decay=0.01, clip=5.0, crop_s=15.0, batch_rows=16, batch_s=240.0
        ),
    )  # fmt: skip
