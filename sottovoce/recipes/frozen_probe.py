"""Frozen probe (SUPERB, arXiv:2105.01051): a protocol that judges weights by a small linear head.

Yang et al., "SUPERB: Speech Processing Universal PERformance Benchmark" (Interspeech 2021), task ER as in s3prl's
`downstream/emotion`; EMS (arXiv:2406.06646) is judged by it. A protocol: it replaces the fine-tuning of any system.

Run:     sottovoce finetune data/CORPUS --init runs/PRE --recipe frozen_probe --fold all -o runs/probe
         # the arm "scratch": the same with --scratch; IEMOCAP as published: with --dev superb
Needs:   a pre-trained run
Time:    20 to 30 CPU seconds a fold of RAVDESS: 3 for the states, the rest for three learning rates (2026-11-21,
         AMD EPYC, a shared core)
Expect:  RAVDESS, 8 emotions, fold1 (4 unseen actors, one seed): UA 0.441 after masked_timesteps on 3 h of speech,
         0.402 with --scratch (2026-11-21, points without intervals); chance is 0.125
Departs: of three learning rates dev chooses one; training ends when five readings of the dev score bring nothing
         better; dev speakers are not in training (unless --dev superb). `--set finetune.patience=0` and
         `--set finetune.lrs=1e-4` undo the first two. The heads of EmoBox and emotion2vec:
         `--set finetune.activation=relu --set finetune.layer_aggregation=last`.
"""

from dataclasses import replace

from sottovoce.config.finetuning import Probe
from sottovoce.config.recipe import Recipe


def protocol(plan: Recipe) -> Recipe:
    """The same system, judged by a frozen probe."""
    return replace(plan, finetune=Probe(class_weights=False, label_smoothing=0.0))
