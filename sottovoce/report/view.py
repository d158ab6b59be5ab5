"""A recording to look at and to listen to: one page that works from a file, without a network."""

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from sottovoce.report import page, words
from sottovoce.report.charts import pooled, series
from sottovoce.report.known import known
from sottovoce.report.predict import roles
from sottovoce.report.words import NOTHING, count, duration, number, text, three

LISTED = 500  # segments that are in the table
POINTS = 6000  # of the drawn waveform


def view_page(found: Mapping[str, Any], audio: bytes = b"", link: str = "", again: str = "") -> str:
    """Player, waveform, segments, probabilities and intensity of a result, see `Result.to_dict`.

    Args:
        audio: an MP3, which the page then holds.
        link: of a file to play instead, from where the page lies.
        again: where another recording is asked for, of a page that a server has made.
    """
    found = known(found)
    names, segments = [text(name) for name in found["names"]], list(found["segments"])
    length = float(found["duration_s"] or 0)
    colours, path = roles([*names, *(text(s["label"]) for s in segments)]), text(found["path"] or "samples")
    title = path.replace("\\", "/").rsplit("/", 1)[-1]
    data = {
        "name": title, "duration": length, "names": names, "roles": [colours[name] for name in names],
        "numbers": found["kind"] == "number", "hop": found["hop_s"] or 0.25, "lanes": _lanes(found),
        "intensity": text(found["intensity_is"]), "wave": _wave(found["waveform"]),
        "segments": [
            {"start": s["start"], "end": s["end"], "label": text(s["label"]), "role": colours[text(s["label"])],
             "confidence": s.get("confidence"), "speaker": text(s["speaker"])}
            for s in segments
        ],
        "result": {key: value for key, value in found.items() if key != "waveform"},
    }  # fmt: skip
    sounds = base64.b64encode(audio).decode()
    script, trusted = page.script("view.js")
    return page.render(
        "view.html", found, title=title, lede=words.listed(path if path != title else "", duration(length)),
        tiles=_tiles(found, names, length, len(segments)), legend=[(name, colours[name]) for name in names],
        data=data, sounds=Markup(sounds), link=link, plays=bool(sounds or link),
        script=script, trusted=Markup(trusted), again=again, most=LISTED, moment=partial(_moment, length_s=length),
        spoken=any(s["speaker"] for s in segments),
    )  # fmt: skip


def _tiles(found: Mapping[str, Any], names: Sequence[str], length: float, segments: int) -> list[tuple[str, Any, str]]:
    """Large figures: name, value, what it means."""
    if found["kind"] == "number":
        means = [(name, number(found["probabilities"][name], 2, fixed=True), "mean") for name in names]
        return [*means[:8], ("Length", duration(length), "")]
    chance = f"1 is certain, {number(1 / len(names))} is chance" if names else ""
    tiles = [
        ("Predicted", found["label"] or NOTHING, "in the recording as a whole"),
        ("Confidence", three(found, "confidence"), chance),
    ]
    if found["intensity_is"]:
        tiles.append(("Intensity", three(found, "intensity"), text(found["intensity_is"])))
    return [*tiles, ("Length", duration(length), count(segments, "segment"))]


def _lanes(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cells of each channel: name, times, a column of values a class, intensity; turns stay in one lane."""
    cells = list(found["timeline"])
    keys = words.cell_columns(found["names"], found["kind"])
    times = [cell["time_s"] for cell in cells]
    apart = len(set(times)) < len(times)
    lanes = []
    for name in dict.fromkeys(cell.get("speaker", "") if apart else "" for cell in cells):
        own = [cell for cell in cells if not apart or cell.get("speaker", "") == name]
        columns = [[_rounded(cell.get(key)) for cell in own] for key in keys]
        strengths = [_rounded(cell.get("intensity")) for cell in own] if own and "intensity" in own[0] else []
        seconds = [cell["time_s"] for cell in own]
        lanes.append({"name": text(name), "times": seconds, "values": columns, "intensity": strengths})
    return lanes


def _wave(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Lowest and highest samples, in thousandths, of at most `POINTS` equal stretches."""
    low, high = (pooled(series(envelope[key]), POINTS, how) for key, how in (("low", np.min), ("high", np.max)))
    top = max(float(np.abs(np.concatenate([low, high, [0.05]])).max()), 1e-9)
    scaled = [np.round(1000 * side / top).astype(int).tolist() for side in (low, high)]
    return {"low": scaled[0], "high": scaled[1]}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _moment(seconds: float, length_s: float) -> str:
    return f"{number(float(seconds), 2)} s" if length_s < 120 else words.clock(float(seconds), length_s >= 3600)
