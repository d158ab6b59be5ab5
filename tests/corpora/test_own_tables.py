"""Tables that come with a corpus: as spreadsheets save them, damaged, and with quotes that are text."""

import layouts
import pytest

from sottovoce import plugins
from sottovoce.corpora import _row_files
from sottovoce.errors import InputError

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 3000\n"


def read(name, root):
    return plugins.load("corpora", name).utterances(root)


@pytest.fixture(scope="module")
def actors(tmp_path_factory):
    return layouts.cremad(tmp_path_factory.mktemp("cremad"), actors=6)


@pytest.fixture
def demographics(actors):
    path = actors / "VideoDemographics.csv"
    text = path.read_text()
    yield path
    path.write_text(text)


@pytest.mark.parametrize("quoted", [False, True])  # the official file has quotes
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_as_spreadsheets_save_it(actors, demographics, separator, encoding, quoted):
    told = read("cremad", actors)
    mark = '"' if quoted else ""
    rows = [[f"{mark}{cell}{mark}" for cell in row.split(",")] for row in demographics.read_text().splitlines()]
    demographics.write_text("\n".join(map(separator.join, rows)) + "\n", encoding=encoding)
    assert read("cremad", actors) == told
    assert {u.gender for u in told} == {"female", "male"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (POINTER, "a git-lfs"),
        ("", "no rows. Found an empty file"),
        ("ActorID,Age,Gender\n1001,30,Male\n", "no column Sex. Found ActorID, Age, Gender"),
        ('ActorID,Sex,Race\n1001,Male,"Asian\n1002,Female,Asian\n', "row 3: a quote that is not closed"),
        ('ActorID,Sex,Race\n1001,Male,"Asian\n1002,Female",Asian\n', "row 2: a cell that holds 1 rows more"),
        ('ActorID,Race,Sex\n1001,"Asian\n1002,Asian",Male\n', "row 2: a cell that holds 1 rows more"),
        ('ActorID,Race,Sex\r1001,"Asian\r1002,Asian",Male\r', "row 2: a cell that holds 1 rows more"),
        ("ActorID,Race,Sex\n1001,Asian\n", "row 2: 2 cells under 3 column names"),
    ],
)
def test_a_damaged_table_is_named_with_what_is_wrong(actors, demographics, text, said):
    demographics.write_text(text, newline="")
    with pytest.raises(InputError, match=rf"VideoDemographics.csv(:|,) ({said})"):
        read("cremad", actors)


def test_actors_that_a_table_leaves_out_are_counted(actors, demographics):
    demographics.write_text("ActorID,Sex\n1001,Female\n1003,n/a\n")
    (note,) = plugins.load("corpora", "cremad").problems(actors, read("cremad", actors))
    assert note == "gender of 5 actors unknown, VideoDemographics.csv does not tell it: 1002, 1003, 1004, ..."


def test_quotes_between_tabs_are_text_and_every_row_counts(tmp_path):
    """A sentence may begin with a quote that nothing closes."""
    root = layouts.nemo(tmp_path)
    path = root / "data.tsv"
    head, *rows = path.read_text().splitlines()
    quoted = [row.replace("\tTak.", ('\t"Tak', '\t"Tak"', '\tTak "no')[k % 3]) for k, row in enumerate(rows)]
    path.write_text("\n".join([head, *quoted]) + "\n")
    assert {u.labels.get("age") for u in read("nemo", root)} == {27.0}
    assert [row["raw_text"] for row in _row_files.official_rows(path, ())][:3] == ['"Tak', '"Tak"', 'Tak "no']


@pytest.mark.parametrize("damage", ["x" * 140_000, "EB0_anger_1.wav\tanger"])
def test_a_damaged_row_between_tabs_is_named(tmp_path, damage):
    root = layouts.nemo(tmp_path)
    with open(root / "data.tsv", "a") as table:
        table.write(damage + "\n")
    with pytest.raises(InputError, match=r"data.tsv, row 108: (damaged|2 cells)"):
        read("nemo", root)


def test_a_command_that_opens_a_quote_swallows_no_clip(tmp_path):
    root = layouts.fluent(tmp_path)
    path = root / "data/train_data.csv"
    text = path.read_text()
    path.write_text(text.replace("Turn on the lights", '"Turn on the lights', 1))
    with pytest.raises(InputError, match=r"train_data.csv, row \d+: a (quote|cell that holds)"):
        read("fluent", root)
    path.write_text(text.replace(",", ";"))
    assert len(read("fluent", root)) == 80


def test_a_pointer_in_place_of_the_readers_is_named(tmp_path):
    root = layouts.NAMED["librispeech"](tmp_path)
    next(root.rglob("SPEAKERS.TXT")).write_text(POINTER)
    with pytest.raises(InputError, match=r"SPEAKERS.TXT: a git-lfs"):
        read("librispeech", root)
