"""Tables as people, spreadsheets and other programs write them: splits, times, numbers, line ends, names of nobody."""

import csv
import json
from collections import Counter

import layouts
import numpy as np
import pytest

from sottovoce import plugins
from sottovoce.corpora import _cells, _split, table
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.pipeline.prepare import prepare


def read(path, **options):
    return plugins.load("corpora", "table").utterances(path, **options)


def clips(root, speakers=12, words=("neutral", "happy", "sad", "angry"), *, seconds=layouts.SECONDS):
    """Rows (file, emotion, speaker) with a recording each."""
    return [
        (layouts.noise(root / f"{k:02}_{word}.wav", seconds=seconds).name, word, f"s{k:02}")
        for k in range(1, speakers + 1)
        for word in words
    ]


def written(path, head, rows, *, delimiter=",", encoding="utf-8", before=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding=encoding) as out:
        out.write(before)
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
    return path


def with_split(root, name_of, **more):
    """A table whose split column holds `name_of(number of the speaker)`."""
    rows = [(*row, name_of(int(row[2][1:]))) for row in clips(root)]
    return written(root / "t.csv", ("file", "emotion", "speaker", "split"), rows, **more)


# -- splits -------------------------------------------------------------------------------------------------


def dealt(*parts):
    """Speakers 1 to 12 dealt to the parts: six to the first, the rest in turn."""
    return lambda k: parts[0] if k <= 6 else parts[1 + (k - 7) % (len(parts) - 1)]


def test_a_table_a_side_is_a_split_too(tmp_path):
    rows = clips(tmp_path)
    head = ("Filename", "Emotion", "Speaker")
    for name, part in (("train_sent_emo", rows[:24]), ("dev_sent_emo", rows[24:32]), ("test_sent_emo", rows[32:])):
        written(tmp_path / f"{name}.csv", head, part)
    [fold] = _split.folds(read(tmp_path))
    assert [len(side) for side in (fold.train, fold.dev, fold.test)] == [24, 8, 16]
    written(tmp_path / "notes.csv", ("a", "b"), [])
    with pytest.raises(InputError, match="several tables"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        (("Train", "Development", "Test1", "Test2", "Test3"), ["test1", "test2", "test3"]),
        (("train", "dev", "test_1", "test_2"), ["test1", "test2"]),
        (("Training", "Validation", "Test A", "Test B"), ["test-a", "test-b"]),
        (("train-clean", "dev-clean", "test-clean", "test-other"), ["test-clean", "test-other"]),
        (("TRAIN", "VAL", "TEST", "HOLDOUT"), ["holdout", "test"]),
        (("trn", "devel", "eval1", "eval2"), ["eval1", "eval2"]),
        (("train", "test1", "test2"), ["test1", "test2"]),
    ],
)
def test_several_test_sets_are_a_fold_each_and_none_is_trained_on(tmp_path, parts, names):
    found = read(with_split(tmp_path, dealt(*parts)))
    by_id = {u.id: u for u in found}
    folds = _split.folds(found)
    assert sorted(f.name for f in folds) == names
    trained = {u.id for u in found if int(u.speaker[1:]) <= 6}
    for fold in folds:
        assert set(fold.train) <= trained
        assert not trained & set(fold.test)
        assert fold.group == "speaker"
        assert fold.dev
        if any(_split.side(part) == "dev" for part in parts):
            assert set(fold.train) == trained
            assert not trained & set(fold.dev)
        assert not set(fold.dev) & set(fold.test)
        assert len({by_id[i].labels["split"] for i in fold.test}) == 1
    assert sum(len(f.test) for f in folds) == sum(by_id[i].labels["split"] not in ("train", "dev") for i in by_id)
    assert any(f"{len(names)} test sets" in note for note in table.fold_notes(found))


@pytest.mark.parametrize(
    "parts",
    [
        *[("Train", "valid", "Test"), ("training", "devel", "eval"), ("TrainSet", "DevSet", "TestSet")],
        *[("train", "validation", "holdout"), ("train-clean-100", "dev-other", "test-clean"), ("trn", "val", "tst")],
        *[("train", "eval", "test"), ("Training set", "Validation set", "Test set"), ("train_1", "dev", "Test1")],
    ],
)
def test_a_split_of_three_sides_is_one_fold_however_they_are_called(tmp_path, parts):
    found = read(with_split(tmp_path, lambda k: parts[0] if k <= 6 else parts[1] if k <= 9 else parts[2]))
    [fold] = _split.folds(found)
    sides = {u.id: int(u.speaker[1:]) for u in found}
    assert fold.name == "split"
    assert [{min(2, (sides[i] - 1) // 3) for i in side} for side in (fold.train,)] == [{0, 1}]
    assert {sides[i] for i in fold.dev} == {7, 8, 9}
    assert {sides[i] for i in fold.test} == {10, 11, 12}


def test_train_and_validation_alone_test_the_validation_part_and_say_so(tmp_path):
    found = read(with_split(tmp_path, lambda k: "train" if k <= 8 else "validation"))
    [fold] = _split.folds(found)
    person = {u.id: int(u.speaker[1:]) for u in found}
    assert {person[i] for i in fold.test} == {9, 10, 11, 12}
    assert {person[i] for i in fold.train + fold.dev} == set(range(1, 9))
    assert any("no test part: its dev part is tested" in note for note in table.fold_notes(found))


@pytest.mark.parametrize(
    ("name_of", "names"),
    [
        (lambda k: 1 + (k - 1) // 4, ["fold1", "fold2", "fold3"]),
        (lambda k: f"{(k - 1) // 4}.0", ["fold0", "fold1", "fold2"]),
        (lambda k: f"Ses0{1 + k % 4}", ["Ses01", "Ses02", "Ses03", "Ses04"]),
        (lambda k: "ABC"[k % 3], ["A", "B", "C"]),
        (lambda k: f"fold_{1 + k % 5}", [f"fold_{j}" for j in range(1, 6)]),
        (lambda k: f"cross-validation {1 + k % 3}", [f"cross-validation_{j}" for j in range(1, 4)]),
    ],
)
def test_numbers_and_names_of_parts_stay_folds_of_a_cross_validation(tmp_path, name_of, names):
    found = read(with_split(tmp_path, name_of))
    folds = _split.folds(found)
    assert [f.name for f in folds] == names
    assert Counter(i for f in folds for i in f.test) == Counter(u.id for u in found)
    assert {f.group for f in folds} == {"speaker"}


def test_sides_beside_other_words_are_refused_and_unused_ones_are_in_no_fold(tmp_path):
    with pytest.raises(InputError, match=r"split 'Ses07' next to .*train"):
        read(with_split(tmp_path / "a", lambda k: "train" if k < 7 else "test" if k > 7 else "Ses07"))
    with pytest.raises(InputError, match=r"split '2' next to test"):
        read(with_split(tmp_path / "b", lambda k: "test" if k > 9 else 1 + k % 3))
    found = read(with_split(tmp_path / "c", lambda k: "train" if k < 7 else "test" if k > 7 else "unused"))
    [fold] = _split.folds(found)
    assert len(fold.train) + len(fold.dev) + len(fold.test) == len(found) - 4
    assert "4 rows have no split and are in no fold" in table.fold_notes(found)
    with pytest.raises(InputError, match="a split without train"):
        _split.folds(read(with_split(tmp_path / "d", lambda k: f"Test{k % 3}")))


def test_speakers_of_two_test_sets_may_meet_but_not_those_of_training(tmp_path):
    rows = [(*row, "Train" if k < 32 else f"Test{1 + k % 2}") for k, row in enumerate(clips(tmp_path))]
    head = ("file", "emotion", "speaker", "split")
    found = read(written(tmp_path / "t.csv", head, rows))
    assert {f.group for f in _split.folds(found)} == {"speaker"}
    rows[0] = (*rows[0][:3], "Test1")
    with pytest.raises(InputError, match=r"1 speakers on both sides of the split: s01 \(test and train\)"):
        read(written(tmp_path / "t.csv", head, rows))


def test_names_of_folds_from_a_table_stay_inside_the_output_folder(tmp_path):
    evil = ("../../../x", "/etc/x", "a/b", "C:\\x")
    path = with_split(tmp_path / "in", lambda k: evil[k % 4])
    prepare("table", path, tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert sorted(f.name for f in corpus.folds) == sorted(["x", "etc_x", "a_b", "C_x"])
    entries = json.loads((tmp_path / "out" / "folds.json").read_text())
    for name in ("../../x", "/tmp/x", "..", "a\\b", "", "a\nb", 3):
        (tmp_path / "out" / "folds.json").write_text(json.dumps([entries[0] | {"name": name}, *entries[1:]]))
        with pytest.raises(
            InputError, match=r"folds.json: (fold .* cannot be the name of a folder|damaged. Found 3 for)"
        ):
            Corpus.load(tmp_path / "out")


# -- times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "cells", "stretch"),
    [
        (("start", "duration"), ("0.5", "1"), (0.5, 1.5)),
        (("start", "dur"), ("0,5", "1,25"), (0.5, 1.75)),
        (("offset", "length"), ("0.25", "0.5"), (0.25, 0.75)),
        (("Start (ms)", "Duration (ms)"), ("250", "500"), (0.25, 0.75)),
        (("start_ms", "end_ms"), ("1000", "1500"), (1.0, 1.5)),
        (("Start Time", "End Time"), ("00:00:01", "00:00:01.5"), (1.0, 1.5)),
        (("begin", "stop"), ("0:01", "0:02.25"), (1.0, 2.25)),
        (("start", "end"), ("0 days", "0 days 00:00:00.900000"), (0.0, 0.9)),
        (("start", "end"), ("0 days 00:00:01", ""), (1.0, None)),
        (("start", "duration"), ("0 days", "0 days 00:00:00.400000"), (0.0, 0.4)),
        (("start", "end"), ("0:00:01,059", "0:00:02,5"), (1.059, 2.5)),
        (("start", "end"), ("400 ms", "1.5s"), (0.4, 1.5)),
        (("onset", "offset"), ("0.5", "1.5"), (0.5, 1.5)),
        (("onset", "duration"), ("0.5", "1.5"), (0.5, 2.0)),
        (("start", "end"), ("PT0.5S", "P0DT0H0M1.5S"), (0.5, 1.5)),
        (("start", "duration"), ("", "0.5"), (0.0, 0.5)),
        (("start", "duration"), ("0.5", ""), (0.5, None)),
        (("start", "duration"), ("0.5", "NaT"), (0.5, None)),
        (("duration", "text"), ("0.3", "hi"), (0.0, None)),  # of the whole file
    ],
)
def test_a_stretch_is_what_its_columns_say(tmp_path, columns, cells, stretch):
    rows = [(f"{k}.wav", ("sad", "happy")[k], *cells) for k in range(2)]
    for name, *_ in rows:
        layouts.noise(tmp_path / name, seconds=3)
    found = read(written(tmp_path / "t.csv", ("file", "emotion", *columns), rows))
    assert {(u.start, u.end) for u in found} == {stretch}


def test_a_day_is_a_day():
    assert _cells.seconds("1 days 00:00:01", "") == 86401
    assert _cells.seconds("1 day, 0:00:01", "") == 86401
    assert _cells.seconds("2 days", "") == 2 * 86400
    assert _cells.seconds("1:02:03.5", "") == 3723.5
    for text in ("-1 days +23:59:59", "soon", "1,2,3", "1,234", "P", "12 o'clock", "inf", "1:2:3:4"):
        with pytest.raises(InputError, match=r"row 2: "):
            _cells.seconds(text, "row 2")


def test_start_and_duration_of_one_file_are_utterances_of_their_own(tmp_path):
    layouts.noise(tmp_path / "long.wav", seconds=3)
    rows = [("long.wav", word, 0, length) for word, length in (("sad", 0.5), ("happy", 1.5))]
    found = read(written(tmp_path / "t.csv", ("file", "emotion", "start", "duration"), rows))
    assert [u.end for u in found] == [0.5, 1.5]
    assert len({u.id for u in found}) == 2
    rows[0] = ("long.wav", "sad", 0, 0)
    with pytest.raises(InputError, match=r"row 2: a segment from 0.0 s to 0.0 s"):
        read(written(tmp_path / "t.csv", ("file", "emotion", "start", "duration"), rows))


def test_columns_that_count_samples_are_not_passed_over(tmp_path):
    layouts.noise(tmp_path / "a.wav")
    path = written(tmp_path / "t.csv", ("file", "emotion", "start_sample", "end_sample"), [("a.wav", "sad", 0, 100)])
    with pytest.raises(InputError, match=r"column start_sample counts sample. Times are seconds"):
        read(path)


# -- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
@pytest.mark.parametrize("column", ["valence", "Arousal", "label"])
def test_decimal_commas_are_numbers(tmp_path, delimiter, column):
    rows = clips(tmp_path, 6)
    values = [0.5 + 0.25 * k for k in range(len(rows))]
    cells = [(name, who, f"{v:.2f}".replace(".", ",")) for (name, _, who), v in zip(rows, values, strict=True)]
    path = written(tmp_path / "t.csv", ("file", "speaker", column), cells, delimiter=delimiter, encoding="utf-8-sig")
    assert [u.labels[column] for u in read(path)] == values
    prepare("table", path, tmp_path / "out")
    assert Corpus.load(tmp_path / "out").kinds[column] == "number"


def test_a_column_tells_which_sign_is_the_decimal_one(tmp_path):
    rows = clips(tmp_path, 1)
    for delimiter, cells, values in (
        (";", ("1.234,5", "2,25", "3", "1.000"), (1234.5, 2.25, 3.0, 1000.0)),
        (",", ("1,234.5", "2.25", "3", "1,000"), (1234.5, 2.25, 3.0, 1000.0)),
        (";", ("1,234", "2,250", "3,125", "0"), (1.234, 2.25, 3.125, 0.0)),
        (";", ("1 234,5", "−0,25", "+1,5", "1'000"), (1234.5, -0.25, 1.5, 1000.0)),
        (",", ("1e-3", ".5", "5.", "-2"), (0.001, 0.5, 5.0, -2.0)),
    ):
        lines = [(name, cell) for (name, *_), cell in zip(rows, cells, strict=True)]
        found = read(written(tmp_path / "t.csv", ("file", "valence"), lines, delimiter=delimiter))
        assert tuple(u.labels["valence"] for u in found) == values
    lines = [(name, cell) for (name, *_), cell in zip(rows, ("1,234", "2,345", "3", "4"), strict=True)]
    with pytest.raises(InputError, match=r"row 2: valence is '1,234', which can be read in two ways"):
        read(written(tmp_path / "t.csv", ("file", "valence"), lines))


def test_what_was_meant_as_a_number_does_not_become_a_class(tmp_path):
    for cell in ("45%", "3/7", "1,5,2", "2.5 points", "4:1"):
        rows = [(name, cell, who) for name, _, who in clips(tmp_path, 2)]
        with pytest.raises(InputError, match=r"row 2: valence is .*, not a number"):
            read(written(tmp_path / "t.csv", ("file", "valence", "speaker"), rows))
    rows = [(name, ("low", "high")[k % 2], who) for k, (name, _, who) in enumerate(clips(tmp_path, 2))]
    found = read(written(tmp_path / "t.csv", ("file", "valence", "speaker"), rows))
    assert {u.labels["valence"] for u in found} == {"low", "high"}


def test_class_codes_with_commas_stay_classes(tmp_path):
    rows = [(name, ("1", "2", "1,2")[k % 3]) for k, (name, *_) in enumerate(clips(tmp_path, 3))]
    found = read(written(tmp_path / "t.csv", ("file", "label"), rows))
    assert {u.labels["emotion"] for u in found} == {"1", "2", "1,2"}


# -- line ends, columns, encodings --------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e", "\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_signs_that_some_take_for_line_ends_stay_inside_their_cell(tmp_path, sign, suffix):
    rows = [(*row, f"Well{sign}no" if k == 3 else "hi", k % 3) for k, row in enumerate(clips(tmp_path, 3))]
    head = ("file", "emotion", "speaker", "text", "valence")
    path = tmp_path / f"t{suffix}"
    if suffix in (".csv", ".tsv"):
        written(path, head, rows, delimiter="\t" if suffix == ".tsv" else ",")
    else:
        records = [dict(zip(head, row, strict=True)) for row in rows]
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        path.write_text(
            "\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]", encoding="utf-8", newline=""
        )
    found = read(path)
    assert [(u.path, u.labels["emotion"], u.speaker, u.labels["valence"]) for u in found] == [
        (name, word, who, float(v)) for name, word, who, _, v in rows
    ]


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\x0b", "\x0c", "\n", "\r"])
def test_a_speaker_on_two_lines_and_a_path_with_a_line_end_survive_the_manifest(tmp_path, sign):
    rows = [list(row) for row in clips(tmp_path / "in", 3)]
    for row in rows:
        row[2] = f"Anna{sign}{row[2]}"
    odd = layouts.noise(tmp_path / "in" / f"odd{sign}name.wav").name
    rows.append([odd, "sad", f"Anna{sign}s01"])
    prepare("table", written(tmp_path / "in" / "t.csv", ("file", "emotion", "speaker"), rows), tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert {u.speaker for u in corpus.utterances} == {"Anna s01", "Anna s02", "Anna s03"}
    assert corpus.utterances[-1].path == odd


def test_old_macintosh_and_windows_line_ends_are_read(tmp_path):
    rows = clips(tmp_path, 2)
    text = "file,emotion,speaker\n" + "".join(",".join(row) + "\n" for row in rows)
    for end in ("\r", "\r\n", "\n"):
        (tmp_path / "t.csv").write_text(text.replace("\n", end), newline="")
        assert [(u.path, u.labels["emotion"], u.speaker) for u in read(tmp_path / "t.csv")] == rows


@pytest.mark.parametrize(
    ("delimiter", "encoding", "before"),
    [
        (";", "utf-8-sig", ""),
        ("\t", "utf-16", ""),
        (";", "utf-8", "sep=;\n"),
        ("|", "utf-8", ""),
        (",", "utf-8", "\n\n"),
    ],
)
def test_what_spreadsheets_export_is_read(tmp_path, delimiter, encoding, before):
    rows = clips(tmp_path, 2)
    head = ("File", "Emotion", "Speaker")
    path = written(tmp_path / "t.csv", head, rows, delimiter=delimiter, encoding=encoding, before=before)
    assert [(u.path, u.labels["emotion"], u.speaker) for u in read(path)] == rows


def test_empty_columns_of_a_spreadsheet_are_no_columns(tmp_path):
    rows = clips(tmp_path, 2)
    head = ("file", "emotion", "speaker")
    for columns, cells in (
        ((*head, "", ""), [(*row, "", "") for row in rows]),
        ((*head, ""), [(*row, "") for row in rows]),
        ((*head, " ", ""), rows),  # a line without the empty cells
        (head, [(*row, "", " ") for row in rows]),
        (("", *head), [(k, *row) for k, row in enumerate(rows)]),  # row numbers, as pandas writes them
        (("file", "", "emotion", "speaker"), [(row[0], "", *row[1:]) for row in rows]),
        ((*head, "speaker"), [(*row, "") for row in rows]),
        ((*head, "speaker"), [(*row, row[2]) for row in rows]),
    ):
        found = read(written(tmp_path / "t.csv", columns, cells))
        assert [(u.path, u.labels["emotion"], u.speaker) for u in found] == rows
    with pytest.raises(InputError, match=r"row 2: 4 cells under 3 column names"):
        read(written(tmp_path / "t.csv", head, [(*row, "more") for row in rows]))
    with pytest.raises(InputError, match="two columns called 'speaker'"):
        read(written(tmp_path / "t.csv", (*head, "speaker"), [(*row, "x") for row in rows]))


def test_columns_that_differ_in_case_must_agree_or_be_named(tmp_path):
    rows = [(*row, "x" if k else row[2]) for k, row in enumerate(clips(tmp_path, 2))]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker", "Speaker"), rows)
    with pytest.raises(InputError, match=r"columns speaker and Speaker differ. Name the one .*--speaker-column"):
        read(path)
    assert [u.speaker for u in read(path, columns={"speaker": "speaker"})] == [row[2] for row in rows]
    assert {u.speaker for u in read(path, columns={"speaker": "Speaker"})} == {"s01", "x"}
    loud = written(tmp_path / "l.csv", ("file", "emotion", "Emotion"), [(r[0], r[1], r[1].upper()) for r in rows])
    assert [u.labels["emotion"] for u in read(loud)] == [row[1] for row in rows]
    empty = written(tmp_path / "e.csv", ("file", "emotion", "Speaker", "speaker"), [(*r[:2], "", r[2]) for r in rows])
    assert [u.speaker for u in read(empty)] == [row[2] for row in rows]


@pytest.mark.parametrize("name", ["Utterance", "utterance", "UTT", "Utterance_ID"])
def test_what_was_said_is_no_id(tmp_path, name):
    said = ("Hey", "Hey", "You know, I ...", "No") if name != "Utterance_ID" else ("0", "1", "0", "1")
    rows = [(k, said[k % 4], *row) for k, row in enumerate(clips(tmp_path, 2))]
    found = read(written(tmp_path / "t.csv", ("Sr No.", name, "path", "Emotion", "Speaker"), rows))
    assert [u.id for u in found] == [row[2].removesuffix(".wav") for row in rows]
    rows = [(k, f"dia{k}_utt0", *row[2:]) for k, row in enumerate(rows)]
    found = read(written(tmp_path / "t.csv", ("Sr No.", name, "path", "Emotion", "Speaker"), rows))
    assert [u.id for u in found] == [row[1] for row in rows]


def test_an_id_that_reads_like_nothing_is_an_id(tmp_path):
    rows = [(word, *row) for word, row in zip(("NA", "none", "nan", "null"), clips(tmp_path, 1), strict=True)]
    found = read(written(tmp_path / "t.csv", ("id", "file", "emotion", "speaker"), rows))
    assert [u.id for u in found] == ["NA", "none", "nan", "null"]


def test_columns_that_are_not_used_are_named(tmp_path):
    rows = [(*row, 0.3, "00:16:16,059", "hi", "") for row in clips(tmp_path, 3)]
    head = ("file", "emotion", "speaker", "duration", "StartTime", "text", "empty")
    path = written(tmp_path / "t.csv", head, rows)
    assert "columns not used: duration, StartTime, text" in prepare("table", path, tmp_path / "out")["warnings"]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker"), [row[:3] for row in rows])
    assert not any("not used" in w for w in prepare("table", path, tmp_path / "out")["warnings"])


# -- nobody -------------------------------------------------------------------------------------------------

NOBODY = ("Unknown", "unknown", "n/a", "N/A", "none", "?", "-", "NaN", "spk_unknown", "UNK", "<unk>", "Speaker ?", "-1")


def test_a_speaker_whom_nobody_knows_is_neither_a_person_nor_lost(tmp_path):
    made = clips(tmp_path)
    head = ("file", "emotion", "speaker")
    for word in NOBODY:
        rows = [(name, e, word if k % 6 == 0 else who) for k, (name, e, who) in enumerate(made)]
        found = read(written(tmp_path / "t.csv", head, rows))
        assert {u.speaker for u in found} == {"", *(row[2] for row in made)}
        assert len(found) == len(rows)
        assert any("8 rows without a speaker are in no fold" in note for note in table.problems(tmp_path, found))
        parted = [(*row, "train" if k < 32 else "test") for k, row in enumerate(rows)]
        found = read(written(tmp_path / "t.csv", (*head, "split"), parted))
        [fold] = _split.folds(found)
        assert len(fold.train) + len(fold.dev) + len(fold.test) == len(rows)
        assert fold.group == "none"
    report = prepare("table", tmp_path / "t.csv", tmp_path / "out")
    assert (report["speakers"], report["utterances"]) == (12, 48)
    assert any("nobody can say whether the split shares some" in w for w in report["warnings"])


def test_names_that_only_look_like_nobody_are_people():
    people = (
        "Anna",
        "Unknown_12",
        "speaker 1",
        "s-1",
        "Nona",
        "Nancy",
        "7",
        "0",
        "Na'im",
        "X",
        "unknowable",
        "Nobody2",
    )
    assert not [name for name in people if _cells.is_nobody(name)]


def test_an_emotion_that_nobody_knows_is_no_label_unless_it_is_mapped(tmp_path):
    rows = [(name, "unknown" if k % 4 == 3 else e, who) for k, (name, e, who) in enumerate(clips(tmp_path, 4))]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker"), rows)
    found = read(path)
    assert Counter(u.labels.get("emotion") for u in found)[None] == 4
    assert any("4 rows have no label and are in no fold" in note for note in table.problems(path, found))
    assert Counter(u.labels["emotion"] for u in read(path, relabel={"unknown": "angry"}))["angry"] == 4
    assert Counter(u.labels["emotion"] for u in read(path, own_classes=True))["unknown"] == 4


# -- tables of chance ---------------------------------------------------------------------------------------

CELLS = (
    *("", "nan", "?", "-", "1", "1.5", "1,5", "1,234", "1.234,5", "0 days", "1 days 00:00:01", "400 ms", "2:30", "-1"),
    *("Train", "test1", "Test 2", "val", "angry", "Happy", "unknown", "S01", "s1", "spk_", "../../x", "/etc", "[b]"),
    *("=1+1", "-2+3", "'=x", "a\u2028b", "a\x85b", "a\rb", "a\nb", 'x"y', "1e999", "inf", "\u0663", "1;2", "a" * 300),
)
HEADS = (
    *("speaker", "start", "end", "duration", "start_ms", "offset", "dur", "onset", "split", "fold", "valence", "id"),
    *("Utterance", "", "gender", "session", "=x", "text", "label", "Speaker"),
)


@pytest.mark.parametrize("seed", range(5))
def test_any_table_is_refused_in_one_line_or_read_and_written_as_it_is(tmp_path, seed):
    rng = np.random.default_rng(seed)
    for k in range(12):
        (tmp_path / f"{k}.wav").write_bytes(b"x")

    def cell(head, k, some):
        if head in ("file", "path"):
            return f"{k}.wav"
        if head.lower() in ("emotion", "label") and rng.random() < 0.95:
            return rng.choice(["angry", "Happy", "sad"])
        if (
            head in ("start", "end", "duration", "start_ms", "offset", "dur", "onset", "valence")
            and rng.random() < 0.98
        ):
            return {"start": "0", "offset": "0,1", "start_ms": "100", "onset": "0 days"}.get(head, "1,5")
        if head in ("split", "fold") and rng.random() < 0.98:
            return rng.choice(["train", "Test1", "test2", "dev"])
        return rng.choice(some)

    complaints = []
    for _ in range(30):
        more = rng.choice(HEADS, rng.integers(1, 6), replace=False)
        heads = rng.permutation(["file", "emotion", *more]).tolist()
        some = rng.choice(CELLS, rng.integers(2, 9), replace=False).tolist()
        rows = [[cell(head, k, some) for head in heads] for k in range(rng.integers(6, 13))]
        path = written(tmp_path / "t.csv", heads, rows, delimiter=rng.choice([",", ";", "\t", "|"]))
        try:
            found = read(path, own_classes=bool(rng.random() < 0.5), allow_shared_speakers=True)
            folds = _split.folds(found)
        except InputError as error:
            complaints.append(str(error))
            continue
        values = {key: [u.labels[key] for u in found if key in u.labels] for u in found for key in u.labels}
        kinds = {key: "class" if isinstance(v[0], str) else "number" for key, v in values.items()}
        classes = {key: tuple(dict.fromkeys(v)) for key, v in values.items() if kinds[key] == "class"}
        Corpus(tmp_path / "c", "c", tmp_path, tuple(found), tuple(folds), kinds, classes, {}).save()
        assert Corpus.load(tmp_path / "c").utterances == tuple(found)
        sides = {u.id: _split.of(str(u.labels.get("split", ""))) for u in found}
        for fold in folds:
            if "test" in {sides[i] for i in fold.test}:
                assert {sides[i] for i in fold.test} == {"test"}
                assert {sides[i] for i in fold.train + fold.dev} <= {"train", "dev"}
    assert len(complaints) < 25
    assert not [text for text in complaints if "\n" in text]


# -- files that are not there -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "/annex/objects/X"]
)
def test_a_pointer_of_git_is_named_as_such(sottovoce, tmp_path, text):
    rows = clips(tmp_path, 3)
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker"), rows)
    for name, *_ in rows:
        (tmp_path / name).write_text(text)
    assert "a git-lfs (or git-annex) pointer" in sottovoce("prepare", "table", path, "-o", tmp_path / "out").complaint
    assert not (tmp_path / "out").exists()
    path.write_text(text)
    assert "t.csv: a git-lfs" in sottovoce("prepare", "table", path, "-o", tmp_path / "out").complaint


# -- further inputs of these kinds --------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_unicode_with_and_without_its_mark_is_read(tmp_path, encoding):
    rows = [(*row, "schön \u4f60") for row in clips(tmp_path, 3)]
    found = read(written(tmp_path / "t.csv", ("file", "emotion", "speaker", "text"), rows, encoding=encoding))
    assert [(u.path, u.speaker) for u in found] == [(path, who) for path, _, who, _ in rows]


def test_commas_in_a_name_or_a_text_do_not_make_the_separator(tmp_path):
    rows = [(*row, "well, you, know") for row in clips(tmp_path, 3)]
    found = read(written(tmp_path / "t.csv", ("file", "emotion", "speaker", "said (a, b, c, d)"), rows, delimiter=";"))
    assert [(u.path, u.speaker) for u in found] == [(path, who) for path, _, who, _ in rows]


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        (("segment_start", "segment_end"), (0.1, 0.25)),
        (("utt_start_ms", "utt_duration_ms"), (100, 150)),
        (("clip_start", "clip_duration"), (0.1, 0.15)),
        (("start", "len"), (0.1, 0.15)),
        (("time_start", "time_end"), (0.1, 0.25)),
    ],
)
def test_a_stretch_by_other_names(tmp_path, columns, cells):
    rows = [(*row, *cells) for row in clips(tmp_path, 3)]
    found = read(written(tmp_path / "t.csv", ("file", "emotion", "speaker", *columns), rows))
    assert {(u.start, u.end) for u in found} == {(0.1, 0.25)}


def test_segments_without_an_end_are_refused_and_one_beginning_a_file_is_noted(tmp_path):
    rows = [(*row, start) for row in clips(tmp_path, 3) for start in (0.0, 0.1)]
    with pytest.raises(InputError, match=r"segments without an end. Found column start, .*--end-column"):
        read(written(tmp_path / "t.csv", ("file", "emotion", "speaker", "start"), rows))
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker", "start"), rows[1::2])
    assert any("start has no end or duration" in note for note in table.problems(path, read(path)))


@pytest.mark.parametrize(("words", "sizes"), [(("tr", "dv", "te"), [24, 12, 12]), (("TR", "va", "TS"), [24, 12, 12])])
def test_two_letters_are_sides_where_train_and_test_are_among_them(tmp_path, words, sizes):
    [fold] = _split.folds(read(with_split(tmp_path, dealt(*words))))
    assert [len(side) for side in (fold.train, fold.dev, fold.test)] == sizes
    three = _split.labels(["te", "hi", "ta"], "")  # languages
    assert three == {"te": "te", "hi": "hi", "ta": "ta"}


def test_of_two_columns_called_like_a_split_the_one_with_sides_counts(tmp_path):
    number = [int(row[2][1:]) for row in clips(tmp_path)]
    rows = [
        (*row, "clean", "train" if k < 9 else "test", k % 3) for k, row in zip(number, clips(tmp_path), strict=True)
    ]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker", "subset", "set", "fold"), rows)
    [fold] = _split.folds(read(path))
    assert len(fold.test) == 16


def test_a_split_that_is_always_train_is_none_and_said_so(tmp_path):
    path = with_split(tmp_path, lambda k: "train")
    found = read(path)
    assert not any("split" in u.labels for u in found)
    assert "column split is always train: no split" in table.problems(path, found)


def test_parts_without_words_of_a_side_are_said_to_be_tested_in_turn(tmp_path):
    path = with_split(tmp_path, lambda k: "0" if k < 9 else "12"[k % 2])
    assert any("3 parts that are tested in turn (0, 1, 2)" in note for note in table.fold_notes(read(path)))
    pictures = read(with_split(tmp_path, lambda k: "\U0001f600\U0001f601\U0001f602"[k % 3]))
    assert len({u.labels["split"] for u in pictures}) == 3


def test_one_person_whose_accents_are_written_in_two_ways_is_one(tmp_path):
    rows = [
        (path, emotion, ("Zoe\u0308" if k % 2 else "Zo\u00eb\u200b") + who)
        for k, (path, emotion, who) in enumerate(clips(tmp_path, 4))
    ]
    assert len({u.speaker for u in read(written(tmp_path / "t.csv", ("file", "emotion", "speaker"), rows))}) == 4


@pytest.mark.parametrize("word", ["various", "mixed", "XXX", "no speaker", "不明", "неизвестно", "Sprecher unbekannt"])
def test_nobody_in_particular_is_no_speaker_but_may_be_a_class(tmp_path, word):
    rows = [(path, e, word if k % 4 == 0 else who) for k, (path, e, who) in enumerate(clips(tmp_path, 4))]
    assert {u.speaker for u in read(written(tmp_path / "t.csv", ("file", "emotion", "speaker"), rows))} == {
        *("", "s01", "s02", "s03", "s04")
    }
    rows = [(path, "mixed" if e == "sad" else e, who) for path, e, who in clips(tmp_path, 3)]
    found = read(written(tmp_path / "t.csv", ("file", "emotion", "speaker"), rows), own_classes=True)
    assert "mixed" in {u.labels["emotion"] for u in found}


@pytest.mark.parametrize(
    ("relabel", "classes"),
    [
        ({"joy": "sad"}, {"neutral", "sad", "angry"}),
        ({"Anger": ""}, {"neutral", "happy", "sad"}),
        ({"neutral": "happy", "happy": "sad", "sad": "neutral"}, {"neutral", "happy", "sad", "angry"}),
    ],
)
def test_a_map_knows_our_words_by_their_other_names(tmp_path, relabel, classes):
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker"), clips(tmp_path, 3))
    assert {u.labels["emotion"] for u in read(path, relabel=relabel)} == classes


def test_a_map_of_a_class_takes_all_its_spellings(tmp_path):
    forms = {"neutral": "Foo", "happy": "foo", "sad": "bar", "angry": "baz"}
    rows = [(path, forms[e], who) for path, e, who in clips(tmp_path, 3)]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker"), rows)
    for left in ("foo", "Foo", "FOO"):
        assert {u.labels["emotion"] for u in read(path, relabel={left: "bar"})} == {"bar", "baz"}


def test_damaged_turns_and_tables_of_others_are_named_with_their_line(tmp_path):
    root = layouts.iemocap(tmp_path / "i", empty=True)
    path = next((root / "Session3/dialog/EmoEvaluation").glob("Ses*.txt"))
    path.write_text(path.read_text().replace("[2.5000, 3.0000", "[2.5x00, 3.0000", 1))
    with pytest.raises(InputError, match=rf"{path.name}, line 3: not a labelled turn"):
        plugins.load("corpora", "iemocap").utterances(root)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/db.yaml").write_text("tables: {files: {columns: {emotion: {}}}}\n")
    written(tmp_path / "a/db.files.csv", ("clip", "emotion"), [("a.wav", "sad")])
    with pytest.raises(InputError, match=r"db.files.csv: no column file"):
        read(tmp_path / "a")
    (tmp_path / "a/db.yaml").write_text("tables: [files]\n")
    with pytest.raises(InputError, match=r"db.yaml: damaged. Found \["):
        read(tmp_path / "a")


# -- rows that would be lost, or people who would be two -----------------------------------------------------


@pytest.mark.parametrize("rows", [(5, 20), (30,)])  # opened and closed by chance, or never closed
def test_a_quote_that_swallows_rows_is_refused(tmp_path, rows):
    lines = [",".join((*row, '"Come on' if k in rows else "yes")) for k, row in enumerate(clips(tmp_path))]
    (tmp_path / "t.csv").write_text("\n".join(["file,emotion,speaker,text", *lines]) + "\n")
    with pytest.raises(InputError, match=r"row \d+: a (quote|cell that holds)"):
        read(tmp_path / "t.csv")


def test_a_quoted_cell_may_have_lines_and_quotes(tmp_path):
    rows = [(*row, 'He said: "no",\nand left, quickly, at once') for row in clips(tmp_path, 3)]
    assert len(read(written(tmp_path / "t.csv", ("file", "emotion", "speaker", "text"), rows))) == 12


def test_one_and_one_point_zero_are_one_person_and_one_class(tmp_path):
    """As pandas writes whole numbers of a column with an empty cell."""
    rows, codes = clips(tmp_path), {"neutral": 0, "happy": 1, "sad": 2, "angry": 3}
    for name, part, number in (("train", rows[:32], float), ("test", rows[32:], int)):
        of = [(path, number(codes[word]), number(int(who[1:]) % 9)) for path, word, who in part]
        written(tmp_path / f"{name}.csv", ("file", "emotion", "speaker"), of)
    with pytest.raises(InputError, match=r"3 speakers on both sides of the split: 1 \(test and train\)"):
        read(tmp_path)
    found = read(tmp_path, allow_shared_speakers=True)
    assert {u.speaker for u in found} == {str(k) for k in range(9)}
    assert {u.labels["emotion"] for u in found} == {"0", "1", "2", "3"}


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({"columns": {"emotion": "emo3"}, "label_columns": ["emotion"]}, ("file", "emo3", "speaker", "emotion")),
        ({"columns": {"speaker": "who"}, "label_columns": ["speaker"]}, ("file", "emotion", "who", "speaker")),
        ({"columns": {"split": "mine"}, "label_columns": ["split"]}, ("file", "emotion", "speaker", "split", "mine")),
    ],
)
def test_a_further_label_takes_the_place_of_nothing(tmp_path, options, head):
    side = dealt("train", "dev", "test")
    rows = [(*row, side(int(row[2][1:])), side(int(row[2][1:])))[: len(head)] for row in clips(tmp_path)]
    with pytest.raises(InputError, match=r"is called as what another column holds \("):
        read(written(tmp_path / "t.csv", head, rows), **options)


def test_segments_of_one_recording_stay_on_one_side_and_so_do_sessions(tmp_path):
    rows = [(p, e, k / 10, (k + 1) / 10) for p, e, _ in clips(tmp_path, seconds=0.5) for k in range(3)]
    found = read(written(tmp_path / "t.csv", ("file", "emotion", "start", "end"), rows))
    where = {u.id: u.path for u in found}
    for fold in _split.folds(found):
        sides = [{where[i] for i in side} for side in (fold.train, fold.dev, fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 48
        assert fold.group == "none"
    rows = [(p, e, who) for p, e, who in clips(tmp_path)]
    found = read(written(tmp_path / "u.csv", ("file", "emotion", "video"), rows))
    assert {fold.group for fold in _split.folds(found)} == {"session"}


def test_lists_and_objects_are_cells(tmp_path):
    votes = [{"happy": 3, "sad": 1}, ["happy", "sad", "happy"]]
    for name, options in (("a", {"votes": {"distribution": "votes"}}), ("b", {"votes": {"rater": "raters"}})):
        rows = [{"file": p, "speaker": s, "votes": votes[0], "raters": votes[1]} for p, _, s in clips(tmp_path, 3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        found = read(tmp_path / f"{name}.jsonl", **options)
        assert {u.labels["emotion"] for u in found} == {"happy"}
    rows = [{"file": p, "emotion": [e], "speaker": s} for p, e, s in clips(tmp_path, 3)]
    for shape in (rows, {"data": rows}, {c: {str(k): row[c] for k, row in enumerate(rows)} for c in rows[0]}):
        (tmp_path / "c.json").write_text(json.dumps(shape))
        assert Counter(u.labels["emotion"] for u in read(tmp_path / "c.json"))["sad"] == 3
    (tmp_path / "c.json").write_text('{"data": [1, 2], "version": 2}')
    with pytest.raises(InputError, match="no list of objects"):
        read(tmp_path / "c.json")


def test_a_word_for_nothing_is_a_class_where_it_is_named(tmp_path):
    rows = [(p, "none" if e == "neutral" else e, s) for p, e, s in clips(tmp_path, 3)]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker"), rows)
    assert Counter(u.labels.get("emotion") for u in read(path))[None] == 3
    assert Counter(u.labels.get("emotion") for u in read(path, relabel={"none": "neutral"}))["neutral"] == 3


def test_what_is_renamed_may_be_said_by_the_raters_or_by_all_of_them(tmp_path):
    rows = [(p, "X" if e == "sad" else e, s, e, "excited" if e == "happy" else e) for p, e, s in clips(tmp_path, 3)]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker", "r1", "r2"), rows)
    found = read(path, votes={"rater": "r1,r2"}, relabel={"excited": "happy", "X": ""})
    assert {u.labels["emotion"] for u in found} == {"neutral", "happy", "angry"}
    assert len(found) == 9
    rows = [(p, "Happiness" if e == "happy" else e, s, "Happiness", "Happiness") for p, e, s in clips(tmp_path, 3)]
    path = written(tmp_path / "u.csv", ("file", "emotion", "speaker", "r1", "r2"), rows)
    found = read(path, votes={"rater": "r1,r2"}, relabel={"happy": "surprised"})
    assert {u.labels["emotion"] for u in found} == {"neutral", "surprise", "sad", "angry"}
    with pytest.raises(InputError, match="no label"):
        read(path, votes={"rater": "r1,r2"}, relabel={"exited": "happy"})


def test_shares_may_have_decimal_commas(tmp_path):
    rows = [(p, s, "0,750", "0,25") for p, _, s in clips(tmp_path, 3)]
    path = written(tmp_path / "t.csv", ("file", "speaker", "happy", "sad"), rows, delimiter=";")
    assert read(path, votes={"distribution": "happy,sad"})[0].labels["emotion:happy"] == 0.75


def test_a_column_called_split_need_not_be_one(tmp_path):
    rows = [(*row, "ABC"[k % 3]) for k, row in enumerate(clips(tmp_path))]
    path = written(tmp_path / "t.csv", ("file", "emotion", "speaker", "set"), rows)
    with pytest.raises(InputError, match="--split-column none"):
        read(path)
    assert {fold.group for fold in _split.folds(read(path, columns={"split": "none"}))} == {"speaker"}
