"""One file, one objective: `Config`, and `Objective(config, backbone, widths)` whose forward returns `Loss`.

The whole contract is in `base.py`.
"""

from sottovoce.objectives.base import Loss, Objective, Preview

__all__ = ["Loss", "Objective", "Preview"]
