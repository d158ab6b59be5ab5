"""A result in the files that other tools open.

csv       a row a cell: time_s, speech, probabilities, intensity, speaker
json      everything, what `sottovoce view` opens
textgrid  Praat: tiers emotion, confidence, intensity, of every speaker
audacity  label track: start, end, label, tab-separated
rttm      NIST's turns: the name is the label, or speaker/label; the ninth field is the confidence
vtt       WebVTT subtitles for any player
elan      ELAN annotation format 3.0, the same tiers as textgrid
svg, png  the picture
html      the page
"""

import re
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sottovoce import files, report
from sottovoce.config.settings import words
from sottovoce.data import archives
from sottovoce.errors import InputError, unknown_name
from sottovoce.inference import page
from sottovoce.inference.result import Result
from sottovoce.inference.sources import called
from sottovoce.report.words import text as one_line

Segment = dict[str, Any]


def names(wanted: str) -> list[str]:
    """The formats of a list like "csv,json". Raises InputError for an unknown one."""
    found = words(wanted.lower())
    if not found:
        raise InputError(f"--format {wanted!r}: names none. There are: {', '.join(FORMATS)}.")
    for name in found:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    return list(dict.fromkeys(found))


def places(bases: Sequence[Path], formats: Sequence[str]) -> list[Path]:
    """The files that `write` makes of these."""
    return [base.with_name(base.name + FORMATS[name][0]) for base in bases for name in formats]


def write(result: Result, base: Path, formats: Sequence[str]) -> list[Path]:
    """Files `base` + suffix, each whole or not at all. Raises InputError where a format needs segments and a model of
    numbers has none."""
    made = []
    for name, path in zip(formats, places([base], formats), strict=True):  # with_suffix would cut names at their dots
        if name in SEGMENTS and result.kind != "class":
            raise InputError(f"--format {name}: holds segments of a label. Found a model of numbers. Use csv or json.")
        FORMATS[name][1](result, path)
        made.append(path)
    return made


def _textgrid(result: Result, path: Path) -> None:
    """Long text format, UTF-8; the intervals of a tier cover the whole recording, pauses are empty."""
    end = result.duration_s
    tiers = list(_tiers(result))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for k, (name, spans) in enumerate(tiers, 1):
        filled = list(_filled(spans, end))
        lines += [f"    item [{k}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(filled)}"]
        for n, (start, stop, said) in enumerate(filled, 1):
            lines += [f"        intervals [{n}]:", f"            xmin = {start:.6f}", f"            xmax = {stop:.6f}"]
            lines += [f"            text = {_quoted(said)}"]
    files.write_text(path, "\n".join(lines) + "\n")


def _audacity(result: Result, path: Path) -> None:
    rows = [f"{s['start']:.6f}\t{s['end']:.6f}\t{one_line(_named(s))}" for s in result.segments]
    files.write_text(path, "".join(f"{row}\n" for row in rows))


def _rttm(result: Result, path: Path) -> None:
    recording = _word(archives.inside(result.path).stem or "samples")
    lines = [
        f"SPEAKER {recording} 1 {s['start']:.3f} {s['end'] - s['start']:.3f} <NA> <NA> {_word(_named(s, '/'))} "
        f"{s['confidence']:.3f} <NA>\n"
        for s in result.segments
    ]
    files.write_text(path, "".join(lines))


def _vtt(result: Result, path: Path) -> None:
    cues = ["WEBVTT", ""]
    for s in result.segments:
        who = f"<v {_escaped(s['speaker'])}>" if s.get("speaker") else ""
        cues += [f"{_clock(s['start'])} --> {_clock(s['end'])}"]
        cues += [f"{who}{_escaped(s['label'])} {100 * s['confidence']:.0f} %", ""]
    files.write_text(path, "\n".join(cues))


def _elan(result: Result, path: Path) -> None:
    """http://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf; times are milliseconds."""
    root = xml.Element("ANNOTATION_DOCUMENT", {
        "AUTHOR": "Sottovoce", "DATE": "1970-01-01T00:00:00+00:00", "FORMAT": "3.0", "VERSION": "3.0",
        "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
        "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
    })  # fmt: skip
    head = xml.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if result.path and called(result.path) == result.path:
        place = Path(result.path).absolute()
        kind = {".wav": "audio/x-wav", ".mp3": "audio/mpeg", ".mp4": "video/mp4"}.get(place.suffix.lower(), "audio/*")
        xml.SubElement(head, "MEDIA_DESCRIPTOR", {"MEDIA_URL": place.as_uri(), "MIME_TYPE": kind})
    order, slots = xml.SubElement(root, "TIME_ORDER"), 0
    for name, spans in _tiers(result):
        tier = xml.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": one_line(name)})
        for start, stop, said in spans:
            for at in (start, stop):
                slots += 1
                xml.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{slots}", "TIME_VALUE": str(round(1000 * at))})
            holder = xml.SubElement(tier, "ANNOTATION")
            places = {"TIME_SLOT_REF1": f"ts{slots - 1}", "TIME_SLOT_REF2": f"ts{slots}"}
            note = xml.SubElement(holder, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{slots // 2}"} | places)
            xml.SubElement(note, "ANNOTATION_VALUE").text = one_line(said)
    xml.SubElement(root, "LINGUISTIC_TYPE", {
        "GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true",
    })  # fmt: skip
    xml.indent(root)
    files.write_text(path, '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n")


FORMATS: dict[str, tuple[str, Callable[[Result, Path], object]]] = {
    "csv": (".csv", lambda result, path: files.write_csv(path, files.plain(result.cells()))),  # NaN is an empty cell
    **{"json": (".json", Result.to_json), "textgrid": (".TextGrid", _textgrid), "audacity": (".txt", _audacity)},
    **{"rttm": (".rttm", _rttm), "vtt": (".vtt", _vtt), "elan": (".eaf", _elan)},
    "svg": (".svg", lambda result, path: report.timeline_figure(result.picture(), path, None)),
    "png": (".png", lambda result, path: report.timeline_figure(result.picture(), None, path)),
    "html": (".html", lambda result, path: files.write_text(path, page.of(result, path))),
}
SEGMENTS = {"textgrid", "audacity", "rttm", "vtt", "elan"}  # that hold nothing else


def _tiers(result: Result) -> Iterator[tuple[str, list[tuple[float, float, str]]]]:
    """(name, [(start, end, text)]) of every speaker's label, confidence and intensity."""
    speaking = [s.get("speaker", "") for s in result.segments]
    people = [who for who in dict.fromkeys([*result.speakers, *speaking]) if who in speaking] or [""]
    for person in people:
        own = [s for s in result.segments if s.get("speaker", "") == person]
        for key in ("label", "confidence", "intensity"):
            if key == "intensity" and result.intensities is None:
                continue
            name = " ".join(filter(None, [person, {"label": "emotion"}.get(key, key)]))
            said = [s[key] if key == "label" else f"{s[key]:.2f}" for s in own]
            yield name, [(s["start"], s["end"], word) for s, word in zip(own, said, strict=True)]


def _filled(spans: Sequence[tuple[float, float, str]], end: float) -> Iterator[tuple[float, float, str]]:
    """The same spans and the pauses between them."""
    at = 0.0
    for start, stop, said in spans:
        if start > at + 1e-6:
            yield at, start, ""
        stop = min(stop, end) if end - stop > 1e-3 else end  # times are rounded, the end is not
        yield max(start, at), stop, said
        at = stop
    if end > at + 1e-6 or not spans:
        yield at, end, ""


def _named(segment: Segment, between: str = ": ") -> str:
    return between.join(filter(None, [str(segment.get("speaker", "")), str(segment["label"])]))


def _quoted(text: str) -> str:
    return '"' + one_line(text).replace('"', '""') + '"'


def _word(text: str) -> str:
    """One field of a table whose fields are apart by blanks."""
    return re.sub(r"\s+", "_", one_line(text)) or "_"


def _escaped(text: str) -> str:
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float) -> str:
    """hh:mm:ss.mmm.

    >>> _clock(3725.0414)
    '01:02:05.041'
    """
    ms = round(1000 * seconds)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"
