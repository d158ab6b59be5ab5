"""NPC (arXiv:2011.00406): predict every frame from its surroundings with masked convolutions.

Liu, Chung & Glass, Interspeech 2021; settings of the authors' code (Alexander-H-Liu/NPC `config/self_supervised/
npc_example.yml`), which s3prl keeps.

Run:     sottovoce pretrain npc data/librispeech -o runs/npc
         sottovoce finetune data/ravdess --init runs/npc --recipe frozen_probe -o runs/probe
Needs:   nothing but recordings
Time:    width 128, 3 blocks at 50 Hz: 10 to 14 CPU seconds an epoch of 1.75 h (AMD EPYC, 2026-11-26); 100 epochs of
         LibriSpeech 360 h there, 335,000 updates in the EMS release
Expect:  RAVDESS, 24 unseen actors, frozen probe, one epoch of 1.9 h at 3 x 128, random spans masked too: UA 0.338,
         random weights 0.329 (2026-11-26, docs/lab.md)
Read:    fbank 80, mean and deviation of the utterance; 4 blocks of 512, kernel 15, mask 5 (growing to 13), residual,
         batch norm, ReLU, dropout 0.1; 4 groups of 64 codes, temperature 1; L1 on all valid frames; Adam, lr 1e-3,
         batches of 32, crops of 1,500 frames, clip 5
Departs: batch norm counts no padding; a cosine down from lr 1e-3 (release: constant); features beyond 10 deviations
         are cut off
"""

from sottovoce.config.frontend import Frontend
from sottovoce.config.recipe import Recipe
from sottovoce.config.training import Training


def recipe(track: str | None = None) -> Recipe:
    """Settings for a track; `None` = fbank, 80 values a frame."""
    return Recipe.of(
        "npc", track or "fbank", "npc", "npc",
        frontend=Frontend(subsampling=1, normalise="utterance"),
        training=Training(
            epochs=100, lr=1e-3, warmup=0.0, weight_decay=0.0, clip=5.0, crop_s=15.0, batch_rows=32, batch_s=480.0
        ),
    )  # fmt: skip
