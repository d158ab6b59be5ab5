"""EMS (arXiv:2406.06646) for NPC: spans where emotion is strong are zero at the input.

Liu & Ma, Interspeech 2024. The NPC model file of the release is not public and its configuration (mask 7, kernel 15,
4 blocks) leaves the last masked convolution without a tap; what its training code shows is in `objectives/npc.py`.
Everything not named here is recipe `npc`.

Run:     sottovoce extract data/librispeech --track intensity --model runs/strengthnet
         sottovoce pretrain ems_npc data/librispeech -o runs/ems_npc
Needs:   the intensity track; or `--set objective.intensity=energy` (loudness, the baseline), `random`
Time:    as recipe `npc`; the rules themselves cost less than 2 % of a step (`python -m bench.masking`)
Expect:  RAVDESS, 24 unseen actors, frozen probe, one epoch of 1.9 h: UA 0.343, random spans 0.338,
         random weights 0.329 (2026-11-26, docs/make_ems_results.sh); the paper's tables could not be read
Release: `--set objective.mask=false objective.rule=random objective.score=true` (three --set): the intensity is added
         to the input and a second head predicts the sum; mask 7 needs `--set backbone.layers=3` or `backbone.kernel=17`
Ours:    the way in which the intensity acts: 15 % of the frames, in spans of 7, as recipe `ems_mockingjay`
"""

from dataclasses import replace

from sottovoce import plugins
from sottovoce.config.recipe import Recipe


def recipe(track: str | None = None) -> Recipe:
    """NPC's settings for a track, with masked spans by the rule and the intensity of EMS."""
    plain: Recipe = plugins.load("recipes", "npc").recipe(track)
    emotional = replace(
        plain.objective_config, mask=True, rule="ems_coverage", ratio=0.15, span=7, intensity="intensity"
    )
    return replace(plain, name="ems_npc", objective_config=emotional)
