"""Cost and truth of the masking rules: `python -m bench.masking [--quick]`.

Time of each rule at 32 utterances of 15 s (1,500 frames), beside one MockingJay step of that batch (3 x 768, 240-d, as
recipe `mockingjay`; measured on a few rows and multiplied, as the cost of a step grows with its rows). And beside the
time what it hides: realised coverage, and mean intensity of hidden and visible frames, for scores that change from
frame to frame and for scores as smooth as a learned intensity.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded

import argparse
import time

import torch

from sottovoce.backbones import transformer
from sottovoce.config.masking import RULES, Policy
from sottovoce.data import runs
from sottovoce.data.batching import Batch
from sottovoce.modeling.masking import RowRandom, contrast, draw_mask
from sottovoce.objectives import masked_timesteps
from sottovoce.recipes import mockingjay

ROWS, FRAMES, RATIOS = 32, 1500, (0.15, 0.4)


def scores(smooth: int) -> torch.Tensor:
    """(B, T) moving averages of white noise over `smooth` frames, with deviation 1."""
    white = torch.randn(ROWS, FRAMES + smooth - 1, generator=torch.Generator().manual_seed(0))
    return white.unfold(1, smooth, 1).mean(-1) * smooth**0.5


def step_s(rows: int, frames: int) -> float:
    """CPU seconds of forward, backward and update of a MockingJay batch of ROWS x FRAMES."""
    plan = mockingjay.recipe()
    torch.manual_seed(0)
    model = masked_timesteps.Objective(plan.objective_config, transformer.Backbone(plan.backbone_config, 240))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4, foreach=True)
    lengths = torch.full((rows,), frames)
    x = torch.randn(rows, frames, 240)
    batch = Batch([], x, lengths, torch.ones(rows, frames, dtype=torch.bool), list(range(rows)))
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        model(batch, RowRandom(batch.seeds)).value.backward()
        optimiser.step()
        optimiser.zero_grad()
        best = min(best, time.process_time() - start)
    return best * ROWS / rows * FRAMES / frames


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--quick", action="store_true", help="a shorter step, fewer rounds: does it run?")
    quick = options.parse_args().quick
    whole = step_s(1, 200 if quick else FRAMES)
    print(f"{runs.hardware()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"A MockingJay step of {ROWS} x {FRAMES}: {whole:.0f} CPU seconds.\n")
    print("| rule | scores | asked for | hidden | intensity hidden / visible | CPU ms | of a step |")
    print("|---|---|---|---|---|---|---|")
    lengths, inside = torch.full((ROWS,), FRAMES), torch.ones(ROWS, FRAMES, dtype=torch.bool)
    for name, smooth in (("white", 1), ("smooth over 0.5 s", 50)):
        intensity = scores(smooth)
        for ratio in RATIOS:
            for rule in RULES:
                policy = Policy(rule=rule, ratio=ratio, span=7, intensity="bench", threshold=0.0)
                times = []
                for _ in range(3 if quick else 15):
                    start = time.process_time()
                    mask = draw_mask(policy, lengths, RowRandom(range(ROWS)), intensity)
                    times.append(time.process_time() - start)
                found = contrast(mask, intensity, inside)
                print(
                    f"| {rule} | {name} | {ratio:.0%} | {mask.float().mean():.1%} | {found['hidden_intensity']:.2f} / "
                    f"{found['visible_intensity']:.2f} | {1e3 * min(times):.1f} | {min(times) / whole:.3%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
