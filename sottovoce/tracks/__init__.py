"""Tracks: everything per frame. One file is one maker, and its name is the name on the command line.

A maker offers `Config` (frozen dataclass with `rate_hz` and `dim`) and `make(wave, config) -> Track`, where
`wave` is mono float32 at 16 kHz. A track that only comes from files (`covarep`) has no `make`.
"""
