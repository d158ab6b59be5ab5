"""Tracks: everything per frame. One file is one maker, and its name is the name on the command line.

A maker offers `Config` (frozen dataclass with `rate_hz` and `dim`) and `make(wave, config) -> Track`, where
`wave` is mono float32 at 16 kHz. `WHOLE = True` in a module says that its numbers are statistics of a whole recording
too (`covarep`): then `wave` is always one, and utterances are cut out of the track. `NAMES` names the columns.
"""
