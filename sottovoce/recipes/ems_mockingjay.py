"""EMS (arXiv:2406.06646): MockingJay that masks where emotion is intense, by a frame-level intensity.

Liu & Ma, "Emotion-Aware Speech Self-Supervised Representation Learning with Intensity Knowledge", Interspeech 2024;
code read in AI-S2-Lab/EMS@6b35c57. Everything not named here is recipe `mockingjay`.

Run:     sottovoce pretrain strengthnet data/ravdess -o runs/strengthnet
         sottovoce extract data/librispeech --track intensity --model runs/strengthnet
         sottovoce pretrain ems_mockingjay data/librispeech -o runs/ems
         sottovoce finetune data/ravdess --init runs/ems --recipe frozen_probe -o runs/probe
Needs:   the intensity track; or `--set objective.intensity=energy` (loudness, the baseline), `random`
Time:    as recipe `mockingjay`; the rules themselves cost less than 2 % of a step (`python -m bench.masking`)
Expect:  RAVDESS, 24 unseen actors, frozen probe, 3 x 128 in 55 CPU s (docs/make_ems_results.sh): UA by intensity
         0.355, by energy 0.350, random 0.366
         (2026-11-26), 60 epochs and a linear probe 0.527, 0.504 and 0.504: points without intervals, docs/lab.md;
         the paper claims up to 7.1 points on IEMOCAP, its tables could not be read
Read:    spans of 7 frames whose starts are the strongest 15 % / 7; 80/10/10 once an utterance; ratio 0.15 to 0.40 tried
Release: `--set objective.rule=ems_released objective.align=pad objective.score=true backbone.attention_dropout=0.1`
         (four --set): overlapping spans, no interpolation from 16 ms to 10 ms, intensity added to the input and
         predicted by a second head
Departs: spans that would overlap are skipped, so that 15 % really is masked (`ems_coverage`); `ems_sampled` draws
         them, with `objective.temperature`; `objective.ramp=0.5` begins with random spans; it is interpolated
"""

from dataclasses import replace

from sottovoce import plugins
from sottovoce.config.recipe import Recipe


def recipe(track: str | None = None) -> Recipe:
    """MockingJay's settings for a track, with the rule and the intensity of EMS."""
    plain: Recipe = plugins.load("recipes", "mockingjay").recipe(track)
    emotional = replace(plain.objective_config, rule="ems_coverage", intensity="intensity")
    return replace(plain, name="ems_mockingjay", objective_config=emotional)
