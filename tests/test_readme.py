"""README and docs: every command that is printed there parses; `docs/readme_commands.py` runs README's."""

import importlib.util
from pathlib import Path

import pytest
import typer

from sottovoce import cli, plugins
from sottovoce.config import recipe as recipes

HOME = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("readme_commands", HOME / "docs/readme_commands.py")
readme_commands = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(readme_commands)  # type: ignore[union-attr]
PAGES = sorted([HOME / "README.md", HOME / "CONTRIBUTING.md", *HOME.glob("docs/*.md"), *HOME.glob("docs/cards/*.md")])

TAKEN_BACK = (
    *("longer pre-training is what helped", "saves half of the labels", "a third of that lead", "a third of the lead"),
    *("the control is strong because", "on the same protocol", "0.025 [0.018, 0.035]", "nothing is clear of zero"),
    *("gains little", "what the adaptation bought", "about worth 1,200", "nothing is left of it", "the reason is in"),
)


def check(words):
    """Raises SystemExit or a usage error where an option does not exist, a word is missing or a value does not fit."""
    group = typer.main.get_command(cli.app)
    verb, *rest = words[1:]
    command = cli.Verbs.get_command(group, group.make_context("sottovoce", [verb], resilient_parsing=True), verb)
    assert command is not None, f"no verb {verb}"
    return command.make_context(verb, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_docs_parses(page):
    for words in readme_commands.commands(page.read_text(encoding="utf-8")):
        words = readme_commands.small(words) if page.name == "README.md" else words
        if page.name == "CONTRIBUTING.md":  # its corpus, acted, is made there
            words = ["folder" if word == "acted" else word for word in words if word not in ("--without", "spk08")]
        given = check(words).params
        if words[1] == "pretrain":  # its settings are there too
            name = given["recipe"]
            known = name in plugins.names("recipes")
            assert known or page.name == "CONTRIBUTING.md"
            if known:
                settings = [s for s in given["settings"] or [] if not s.startswith("finetune.")]
                recipes.resolve(name, track=given["track"], backbone=given["backbone"], settings=settings)


@pytest.mark.parametrize("name", plugins.names("recipes"))
def test_the_command_of_a_recipe_parses(name):
    text = plugins.card("recipes", name)["Run"].replace("\n", " && ")
    for part in text.split(" && "):
        words = part.split("#")[0].split()
        check([word for word in words if word != "..."])


def test_a_command_that_does_not_exist_is_found():
    for line in ("sottovoce pretrane x", "sottovoce evaluate", "sottovoce study data --init x -o y --lables 3"):
        with pytest.raises((Exception, SystemExit)):
            check(line.split())


def test_commands_are_found_as_they_are_printed():
    fenced = "```\nsottovoce run ems a \\\n   -o b && sottovoce list\n```\n"
    text = f"Text\n\n    a x  # c\n    sottovoce list tracks    # names\n\n{fenced}"
    assert readme_commands.commands(text) == [
        ["sottovoce", "list", "tracks"],
        ["sottovoce", "run", "ems", "a", "-o", "b"],
        ["sottovoce", "list"],
    ]


def test_readme_makes_what_its_later_commands_read():
    """A run or prepared corpus that a command names has been written by one before it."""
    made: set[str] = set()
    by: dict[str, str] = {}
    for words in readme_commands.commands((HOME / "README.md").read_text(encoding="utf-8")):
        for word in words[2:]:
            if word.startswith(("runs/", "data/")) and word not in made:
                where = words[words.index(word) - 1]
                assert where in ("-o", "--output"), f"{' '.join(words)}: nothing has made {word}"
                made.add(word)
        if "-o" in words:  # and no other command writes into its folder
            out, command = words[words.index("-o") + 1], " ".join(words[1:3])
            assert by.setdefault(out, command) == command, f"{' '.join(words)}: {out} is {by[out]}'s"


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_sentences_that_were_taken_back_stay_away(page):
    """They said more than their figures, or had none; the dated note at the end of the results names them."""
    text, _, note = (HOME / page).read_text(encoding="utf-8").partition("## Taken back")
    said = " ".join(text.split()).lower()
    found = [words for words in TAKEN_BACK if words in said]
    assert not found
    assert ("2026-" in note) == (page == "docs/results.md")
