"""`--set`: text becomes typed fields, and every mistake is one line."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from sottovoce import files
from sottovoce.config import explain
from sottovoce.config import recipe as recipes
from sottovoce.config.ranges import Settings
from sottovoce.config.settings import from_mapping, parse_settings
from sottovoce.errors import InputError


@dataclass(frozen=True)
class Mask:
    span: int = 7
    fill: Literal["zero", "noise"] = "zero"


@dataclass(frozen=True)
class Config:
    bins: int = 80
    lr: float = 2e-4
    deep: bool = False
    name: str = "x"
    sizes: tuple[int, ...] = (1, 2)
    low_high: tuple[float, float] = (0.0, 3.0)
    limit: int | None = None
    folder: Path | None = None
    mask: Mask = field(default_factory=Mask)
    extra: Mask | None = None
    anything: Any = None

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins is a count, got {self.bins}")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("bins=40", "bins", 40),
        ("bins=1e2", "bins", 100),
        ("lr=1e-3", "lr", 1e-3),
        ("lr=1", "lr", 1.0),
        ("deep=true", "deep", True),
        ("deep=off", "deep", False),
        ("name=a=b", "name", "a=b"),
        ("name=7", "name", "7"),
        ("sizes=3,4,5", "sizes", (3, 4, 5)),
        ("sizes=(3)", "sizes", (3,)),
        ("sizes=", "sizes", ()),
        ("low_high=-1, 2.5", "low_high", (-1.0, 2.5)),
        ("limit=none", "limit", None),
        ("limit=5", "limit", 5),
        ("folder=a/b", "folder", Path("a/b")),
        ("mask.span=9", "mask", Mask(span=9)),
        ("extra.fill=noise", "extra", Mask(fill="noise")),
        ("extra=none", "extra", None),
    ],
)
def test_text_takes_the_type_of_its_field(text, key, value):
    found = getattr(parse_settings(Config, [text]), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bin=40", "Did you mean 'bins'"),
        ("mask.spam=9", "Did you mean 'mask.span'"),
        ("bins", "not key=value"),
        ("bins=many", "not a whole number"),
        ("bins=2.5", "not a whole number"),
        ("bins=0", "bins is a count, got 0"),
        ("lr=fast", "not a number"),
        ("deep=maybe", "not true or false"),
        ("low_high=1,2,3", "not 2 values"),
        ("mask=3", "is a group"),
        ("mask.fill=one", "one of zero, noise"),
        ("mask.span.deep=1", "not a group"),
        ("bins.x=3", "not a group"),
        ("sizes=1,b", "a whole number, several with commas"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(text, message):
    with pytest.raises(InputError, match=message) as error:
        parse_settings(Config, [text])
    assert "\n" not in str(error.value)


def test_settings_start_from_an_instance_and_the_last_one_wins():
    start = Config(bins=3, mask=Mask(span=4, fill="noise"))
    assert parse_settings(start, ["mask.span=5", "mask.span=6", "lr=1"]) == Config(
        bins=3, lr=1.0, mask=Mask(span=6, fill="noise")
    )


def test_a_group_behind_any_takes_the_type_it_holds():
    assert parse_settings(Config(anything=Mask()), ["anything.span=3"]).anything == Mask(span=3)


def test_a_configuration_survives_json():
    config = Config(bins=3, sizes=(4, 5), mask=Mask(span=2), extra=Mask(fill="noise"), folder=None)
    kept = json.loads(json.dumps(dataclasses.asdict(config)))
    assert from_mapping(Config, kept) == config
    with pytest.raises(InputError, match=r"runs/a/config\.json"):
        from_mapping(Config, {"bims": 3}, where="runs/a/config.json")


def test_a_field_without_default_is_asked_for():
    @dataclass
    class Needy:
        rate: int

    with pytest.raises(InputError, match="rate has no default"):
        parse_settings(Needy, [])


@pytest.mark.parametrize("wrong", [3, None, ["fbank"], {"a": 1}, "nonsense", True])
def test_a_run_whose_names_are_damaged_says_so(wrong):
    """A part of `config.json` that names something may hold anything after damage."""
    whole = files.plain(recipes.resolve("masked_timesteps"))
    assert recipes.from_dict(whole)
    for key in ("track", "backbone", "objective", "finetune"):
        damaged = whole | {key: wrong}
        with pytest.raises(InputError, match=r"^config\.json: "):
            recipes.from_dict(damaged)
    with pytest.raises(InputError, match=r"^config\.json: finetune\.mode: "):
        recipes.from_dict(whole | {"finetune": whole["finetune"] | {"mode": wrong}})


@dataclass(frozen=True)
class Crop(Settings):
    renamed: ClassVar[dict[str, str]] = {"crop": "crop_s"}
    crop_s: float = 0.0
    epochs: int = 100


@dataclass(frozen=True)
class System(Settings):
    renamed: ClassVar[dict[str, str]] = {"strength": "intensity"}
    intensity: Crop = field(default_factory=Crop)


@pytest.mark.parametrize("order", [1, -1])
def test_settings_under_an_earlier_name_stand_beside_those_under_todays(order):
    items = ["intensity.epochs=1", "strength.crop=2"][::order]
    assert parse_settings(System(), items) == System(Crop(crop_s=2.0, epochs=1))


@pytest.mark.parametrize(
    "items", [["intensity.epochs=1", "strength.epochs=2"], ["intensity.crop=1", "intensity.crop_s=2"]]
)
def test_one_setting_under_two_names_is_refused(items):
    with pytest.raises(InputError, match=r"(epochs|crop_s): is set twice\. .* Keep this one"):
        parse_settings(System(), items)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_settings_may_be_written_as_windows_writes_it(tmp_path, encoding):
    (tmp_path / "my.toml").write_bytes("[training]\r\nlr = 0.5\r\n".encode(encoding))
    assert explain.read(tmp_path / "my.toml") == {"training": {"lr": 0.5}}


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 3000, ".".join("a" * 3000) + " = 1"])
def test_a_file_of_settings_that_no_machine_can_hold_is_one_line(tmp_path, text):
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(InputError, match="not TOML"):
        explain.read(tmp_path / "my.toml")
