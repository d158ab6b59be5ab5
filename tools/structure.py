"""The size and shape of the package, measured from its own source: `python tools/structure.py`.

Prints one table row a measure, with what we aim at. `tests/test_structure.py` holds the package to the aims.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent / "sottovoce"
DOORS = ("commands/", "cli.py", "__init__.py", "__main__.py")  # where imports may wait until a verb is called
PROBES = ("hasattr", "getattr")
NETWORKS = ("backbones", "objectives", "modeling")
# What a newcomer opens to follow one training step, from the loop to the loss.
STEP = {
    "masked_timesteps": ["objectives/masked_timesteps.py", "backbones/transformer.py"],
    "mockingjay": ["objectives/masked_timesteps.py", "backbones/transformer.py"],
    "npc": ["objectives/npc.py", "backbones/npc.py"],
    "gmp_tl units": ["objectives/masked_units.py", "backbones/transformer.py"],
}
SHARED = ["modeling/training.py", "data/dataset.py", "data/batching.py"]


def files() -> list[Path]:
    return sorted(HOME.rglob("*.py"))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Path below the package, syntax tree."""
    for path in files():
        yield path.relative_to(HOME).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]


def inner_imports() -> list[str]:
    """Imports of our own modules inside functions, outside the doors."""
    found = []
    for name, tree in trees():
        if not name.startswith(DOORS):
            nodes = {n for f in functions(tree) for n in ast.walk(f) if isinstance(n, ast.ImportFrom)}
            found += [f"{name}:{n.lineno}" for n in nodes if (n.module or "").startswith("sottovoce")]
    return sorted(found)


def _named(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name


def quoted_types() -> list[str]:
    """Annotations in quotes that Python would understand without: the name is not that of a class around them."""
    found = []
    for name, tree in trees():
        if name.startswith(DOORS):
            continue
        own = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
        for f in functions(tree):
            arguments = [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]
            for note in [a.annotation for a in arguments if a.annotation] + ([f.returns] if f.returns else []):
                helps = [h for a in ast.walk(note) if _named(a, "Annotated") for h in ast.walk(a.slice.elts[1])]
                for n in set(ast.walk(note)) - set(helps):  # a help text is no type
                    if isinstance(n, ast.Constant) and isinstance(n.value, str):
                        names = {x.id for x in ast.walk(ast.parse(n.value)) if isinstance(x, ast.Name)}
                        if not names & own:
                            found.append(f"{name}:{n.lineno} {n.value}")
    return found


def probes(folders: tuple[str, ...] = ()) -> list[str]:
    """Calls of hasattr and getattr."""
    found = []
    for name, tree in trees():
        if not folders or name.split("/")[0] in folders:
            calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
            found += [f"{name}:{n.lineno}" for n in calls if n.func.id in PROBES]  # type: ignore[attr-defined]
    return found


def long_functions(most: int = 80) -> list[str]:
    """Functions of more lines; a command's options are no lines of a function."""
    return [
        f"{name}:{f.name} {f.end_lineno - f.lineno + 1}"  # type: ignore[operator]
        for name, tree in trees()
        for f in functions(tree)
        if f.end_lineno - f.lineno + 1 > most and not (name.startswith("commands/") and f.name == "main")  # type: ignore[operator]
    ]


def wide_functions(most: int = 8) -> list[str]:
    """Functions of more parameters; a command's options are no parameters of a function."""
    return [
        f"{name}:{f.name} {count}"
        for name, tree in trees()
        for f in functions(tree)
        if (count := sum(a.arg not in ("self", "cls") for a in [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]))
        > most
        and not (name.startswith("commands/") and f.name == "main")
    ]


def step(recipe: str) -> tuple[int, int]:
    """(files, lines) to open for one training step."""
    masks = sorted(p.relative_to(HOME).as_posix() for p in (HOME / "modeling").glob("masking/spans.py"))
    opened = SHARED + STEP[recipe] + (masks or ["modeling/masking.py"])
    opened = [name for name in opened if (HOME / name).exists()]
    return len(opened), sum(lines(HOME / name) for name in opened)


def page_lines() -> int:
    """Lines of pages: Python, templates and styles."""
    report = [p for p in (HOME / "report").rglob("*") if p.suffix in (".py", ".html", ".css")]
    return sum(lines(p) for p in [*report, *(HOME / n for n in ("charts.py", "page.py") if (HOME / n).exists())])


def main() -> None:
    rows: list[tuple[str, object, str]] = [
        ("files loose in the package's root", len(list(HOME.glob("*.py"))), "<= 6"),
        ("imports of own modules inside functions", len(inner_imports()), "0"),
        ("types in quotes", len(quoted_types()), "0"),
        ("hasattr / getattr probes", len(probes()), "few"),
        ("... in backbones, objectives, modeling", len(probes(NETWORKS)), "0"),
        ("functions over 80 lines", len(long_functions()), "0"),
        ("functions over 8 parameters", len(wide_functions()), "0"),
        ("lines of pages", page_lines(), "<= 1,700"),
        (
            "lines of networks, losses and masking",
            sum(lines(p) for f in NETWORKS for p in (HOME / f).rglob("*.py")),
            "",
        ),
        ("lines of the package", sum(lines(p) for p in files()), ""),
    ]
    for recipe in STEP:
        opened, many = step(recipe)
        rows.append((f"files / lines for one step of {recipe}", f"{opened} / {many:,}", "<= 6 / 1,100"))
    print("| measure | now | aim |\n|---|---|---|")
    for name, value, aim in rows:
        print(f"| {name} | {value} | {aim} |")
    for title, found in (("over 80 lines", long_functions()), ("over 8 parameters", wide_functions())):
        print(f"\n{title}: {', '.join(found) or 'none'}")


if __name__ == "__main__":
    main()
