"""Settings: frozen dataclasses that need neither NumPy nor torch, and how `--set` reaches them."""
