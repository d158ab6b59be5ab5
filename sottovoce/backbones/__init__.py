"""One file, one backbone: `Config`, and `Backbone(config, features)` whose forward returns `Hidden`.

The whole contract is in `base.py`.
"""

from sottovoce import plugins
from sottovoce.backbones.base import Backbone, Hidden, Traits, hop_and_field, valid_steps

__all__ = ["Backbone", "Hidden", "Traits", "hop_and_field", "valid_steps"]
__path__ += plugins.elsewhere("backbones")  # files of one's own, see there
