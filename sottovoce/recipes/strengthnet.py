"""StrengthNet (arXiv:2206.07229): strength of every frame, from emotional and neutral speech.

Liu, Sisman, Schuller, Gao & Li, Interspeech 2022; the intensity model of EMS (arXiv:2406.06646).

Run:     sottovoce pretrain strengthnet data/ravdess -o runs/strengthnet
         sottovoce extract data/librispeech --track intensity --model runs/strengthnet
Needs:   a corpus with a neutral and other emotions; openSMILE for the paper's functionals (`sottovoce[egemaps]`)
Time:    14 CPU s an update of 64 utterances of 3.7 s, 4 CPU minutes an epoch of a RAVDESS fold; a quarter of the
         channels (--set backbone.channels=4,8,16,32, objective.lstm=32, objective.dense=32) a tenth of that; extraction
         45 x real time a core (2026-11-21, AMD EPYC, shared)
Expect:  normal and strong renderings of 24 unseen RAVDESS actors, AUC: a quarter of the channels on standardised
         log-mel, 2 CPU minutes, 0.790, the ranking it was taught 0.781, loudness alone 0.863; emotional
         above neutral on nEMO, another language, 0.64 to 0.66, loudness 0.51 (2026-11-26, docs/lab.md); a ranking
         on the default encoder's states has 0.867 [0.819, 0.903] (docs/systems/intensity.py), taught to no network yet
Departs: dev and test speakers are never trained on (release: random split, `--set objective.split=random`); padding
         is neither read nor scored (release: `--set objective.padding=included`); the learning rate follows a cosine
         from 1e-4 (release: constant, up to 1,000 epochs, the best of 30 without progress).
"""

from sottovoce.config.frontend import Frontend
from sottovoce.config.recipe import Recipe
from sottovoce.config.training import Training


def recipe(track: str | None = None) -> Recipe:
    """Settings for a track; `None` = mel, the release's."""
    return Recipe.of(
        "strengthnet", track or "mel", "strengthnet", "strength",
        frontend=Frontend(subsampling=1, normalise="none", clip=0.0),
        training=Training(
            epochs=200, lr=1e-4, warmup=0.0, weight_decay=0.0, clip=0.0, patience=30,
            batch_s=128.0, batch_rows=16, accumulate=4,  # 64 utterances an update
        ),
    )  # fmt: skip
