"""One file, one objective: `Config`, and `Objective(config, backbone, widths)` whose forward returns `Loss`.

The whole contract is in `base.py`.
"""

from sottovoce import plugins
from sottovoce.objectives.base import Loss, Objective, Preview

__all__ = ["Loss", "Objective", "Preview"]
__path__ += plugins.elsewhere("objectives")  # files of one's own, see there
