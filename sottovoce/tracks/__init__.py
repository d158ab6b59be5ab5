"""Tracks: everything per frame. One file is one maker, and its name is the name on the command line.

Every maker offers `Config` (frozen dataclass with `rate_hz` and `dim`) and one of

    make(wave, config) -> Track           from a recording: mono float32 at 16 kHz. `WHOLE = True` in a module says that
                                          its numbers are statistics of a whole recording too (`covarep`): then `wave`
                                          is always one, and utterances are cut out of the track
    MAKER                                 the module that has `make`, and `settle(config) -> config` for what the caller
                                          cannot know, where it takes torch (`encoder`)
    SOURCE, derive(source, utterances, everybody, config) -> (id, values) ...
                                          from another track of the corpus, named by SOURCE
    OBJECTIVE, frames(model, x, lengths)  by a trained run of that objective; `Config.model` and `Config.heard`
                                          say which weights, and whose voices they know
    KIND, about(model, rate_hz)           the answers of a fine-tuned run at every frame: what `Config` says of it

`NAMES`, where there is one, names the columns; `log_energies(values)` says how loud its frames are (`frontend.trim_db`)
where the values are not log energies themselves, or `bounds(values)` between which rows it is not silent; `HALF = True`
keeps float16.
"""
