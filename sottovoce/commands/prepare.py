"""`sottovoce prepare`: a corpus folder or a table -> manifest, speaker-disjoint folds, data report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sottovoce.commands import _tables


def main(
    name: Annotated[
        str, typer.Argument(help="a corpus reader: `sottovoce list corpora`; folder and table for your own")
    ],
    source: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="the corpus; a file for `table`; not needed with --download")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder to write; default data/NAME")] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", metavar="A=B", help="call class A B, e.g. excited=happy,calm=neutral")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="A", help="leave class A out, e.g. xxx,calm")
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="how many; default: the reader's own folds")] = None,
    group: Annotated[
        str, typer.Option("--group", help="what folds keep apart: speaker, session, or none (by file, leaky)")
    ] = "",
    download: Annotated[
        Path | None, typer.Option("--download", metavar="DIR", help="fetch the corpus into DIR first, where allowed")
    ] = None,
    base_url: Annotated[str, typer.Option("--base-url", help="with --download: a mirror")] = "",
    corpus_name: Annotated[str, typer.Option("--name", help="folder, table: name of the corpus; default: of DIR")] = "",
    layout: Annotated[
        str, typer.Option("--layout", help="folder: what sub-folders are, e.g. class/speaker; default: found out")
    ] = "",
    speaker_pattern: Annotated[
        str, typer.Option("--speaker-pattern", metavar="REGEX", help="folder, table: reads the speaker from the path")
    ] = "",
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="folder, table: recordings without labels, for pre-training")
    ] = False,
    own_classes: Annotated[
        bool, typer.Option("--own-classes", help="folder, table: keep class names that are no words of emotion")
    ] = False,
    path_column: Annotated[str, typer.Option("--path-column", help="table: column of the recording")] = "",
    id_column: Annotated[str, typer.Option("--id-column", help="table")] = "",
    emotion_column: Annotated[str, typer.Option("--emotion-column", help="table")] = "",
    speaker_column: Annotated[str, typer.Option("--speaker-column", help="table")] = "",
    gender_column: Annotated[str, typer.Option("--gender-column", help="table")] = "",
    session_column: Annotated[str, typer.Option("--session-column", help="table")] = "",
    start_column: Annotated[str, typer.Option("--start-column", help="table: seconds or timedeltas")] = "",
    end_column: Annotated[str, typer.Option("--end-column", help="table: seconds or timedeltas")] = "",
    duration_column: Annotated[
        str, typer.Option("--duration-column", help="table: beside start, where there is no end")
    ] = "",
    split_column: Annotated[
        str, typer.Option("--split-column", help="table: train/dev/test (also test1, test2), or one value a fold")
    ] = "",
    label_columns: Annotated[
        str, typer.Option("--label-columns", metavar="A,B", help="table: further labels to keep")
    ] = "",
    audio_root: Annotated[
        Path | None, typer.Option("--audio-root", metavar="DIR", help="table: where relative paths start")
    ] = None,
    table: Annotated[str, typer.Option("--table", metavar="A,B", help="table: of an audformat database")] = "",
    allow_shared_speakers: Annotated[
        bool, typer.Option("--allow-shared-speakers", help="table: accept a split with a speaker on both sides (leaky)")
    ] = False,
    protocol: Annotated[str, typer.Option("--protocol", help="iemocap: 4class (5,531 utterances) or all")] = "",
    split: Annotated[
        str, typer.Option("--split", help="iemocap: who is tested: session, speaker, or emobox (dev shares speakers)")
    ] = "",
    language: Annotated[str, typer.Option("--language", help="esd: english or mandarin; default both")] = "",
    part: Annotated[str, typer.Option("--part", help="mfn: mmmo or youtube; librispeech: what to download")] = "",
    features: Annotated[Path | None, typer.Option("--features", help="mosei, mosi: the COVAREP .csd file")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="mosei, mosi: the label .csd file")] = None,
    folds_file: Annotated[
        Path | None, typer.Option("--folds-file", help="mosei, mosi: which video is on which side")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="any other option of the reader, e.g. speakers=8"),
    ] = None,
    leave_out: Annotated[
        str, typer.Option("--leave-out", metavar="A,B", help="also drop silent, duplicate, clipped or short recordings")
    ] = "",
    no_scan: Annotated[bool, typer.Option("--no-scan", help="read headers only, decode nothing")] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="processes that decode; default: the cores there are")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
) -> None:
    """Writes manifest.csv, folds.json, corpus.json and a data report (report.html, report.json).

    Counts are utterances. Recordings that cannot be read are listed and left out; nothing else is, unless
    --leave-out says so. Example: `sottovoce prepare ravdess DIR -o data/ravdess`.
    """
    from sottovoce.data import vocabulary
    from sottovoce.pipeline.prepare import prepare, typed_settings

    columns = {
        **{"path": path_column, "id": id_column, "emotion": emotion_column, "speaker": speaker_column},
        **{"gender": gender_column, "session": session_column, "split": split_column},
        **{"start": start_column, "end": end_column, "duration": duration_column},
    }
    options: dict[str, Any] = {
        "layout": layout,
        "speaker_pattern": speaker_pattern,
        "unlabelled": unlabelled,
        "own_classes": own_classes,
        "columns": {key: column for key, column in columns.items() if column},
        "label_columns": [c.strip() for c in label_columns.split(",") if c.strip()],
        "audio_root": audio_root,
        "table": table,
        "allow_shared_speakers": allow_shared_speakers,
        "protocol": protocol,
        "split": split,
        "language": language,
        "part": part,
        "features": features,
        "labels": labels,
        "folds_file": folds_file,
        "name": corpus_name,
    }
    report = prepare(
        name,
        source,
        out or Path("data") / name,
        relabel=vocabulary.overrides(map_ or (), drop or ()),
        folds=folds,
        group=group,
        download=download,
        base_url=base_url,
        options={key: value for key, value in options.items() if value} | typed_settings(set_ or ()),
        leave_out=[p.strip() for p in leave_out.split(",") if p.strip()],
        scan=not no_scan,
        jobs=jobs,
        quiet=quiet,
    )
    if not quiet:
        _tables.corpus(report, out or Path("data") / name)
