"""Masking policies: which frames a self-supervised model has to predict, and what it sees in their stead.

A rule turns what it knows about a batch into `mask` bool, True = masked at the encoder's input and counted in the loss.
It masks no padding and leaves the features alone; `corrupt` changes them.

    span_mask       random spans, exact ratio               wav2vec 2.0, arXiv:2006.11477, sec. 3.1
                    (span=1: single timesteps, as in the masked-timestep paper, arXiv:2307.12343)
    released_mask   spans that start at the strongest frames   EMS, arXiv:2406.06646, as in the authors' code
    threshold_mask  spans that start at strong enough frames   its prototype of February 2023
    coverage_mask   the strongest spans, exact ratio           ours, after EMS
    sampled_mask    strong spans more often, exact ratio       ours, after EMS
    feature_mask    random spans in every feature column on its own
    corrupt         80 % filled, 10 % other frames, 10 % kept  BERT, arXiv:1810.04805, sec. 3.1

A `Policy` (`config/masking.py`) names a rule and its settings, and `draw_mask` follows it. `spans.py` has what is
drawn at random and what the model sees instead, `rules.py` what follows an intensity.

B utterances, T frames, D features. `intensity` (B, T) is how emotional a frame is, on any scale.
"""

from sottovoce.modeling.masking.rules import coverage_mask, draw_mask, released_mask, sampled_mask, threshold_mask
from sottovoce.modeling.masking.spans import RowRandom, contrast, corrupt, feature_mask, span_mask

__all__ = [
    "RowRandom",
    "contrast",
    "corrupt",
    "coverage_mask",
    "draw_mask",
    "feature_mask",
    "released_mask",
    "sampled_mask",
    "span_mask",
    "threshold_mask",
]
