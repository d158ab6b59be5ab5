"""Damage: what disks, other programs and people do to a file, drawn from a random generator.

    damage(data, name, rng) -> other bytes

Any file loses bytes, bits and its end; JSON gets other values in any place; a table other cells; safetensors another
head or other numbers.
"""

import csv
import io
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import yaml

ODD_TEXTS = (
    *("", " ", "nan", "inf", "-inf", "1e999", "-1", "0", "1,5", "=1+1", "+1", "@x", "'", '"', "../../../x", "/etc/x"),
    *("[/b]", "[bold]x", "\x85", "\u2028", "a\nb", "a\rb", "\0", "\ud800", "é" * 40, "x" * 3000, "unknown", "None"),
    *("9" * 400, "1e308", "true", "null", "..", ".", "CON", "a/b", "\\", "%s", "{0}", "$HOME", "test", "train"),
)
ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, 10**400, 1e308, -1e308, 5e-324, 0.1, float("nan"), float("inf"), 12345678)


def damage(data: bytes, name: str, rng: random.Random) -> bytes:
    """Other bytes than `data`, of a file called `name`; half of the time such as its format allows."""
    kinds = {
        ".json": _json,
        ".yaml": _yaml,
        ".jsonl": _json_line,
        ".csv": _table,
        ".tsv": _table,
        ".safetensors": _safetensors,
    }
    own = next((kind for suffix, kind in kinds.items() if name.endswith(suffix)), None)
    for _ in range(20):
        how: Callable[[bytes, random.Random], bytes] = own if own and rng.random() < 0.75 else rng.choice(BYTES)
        try:
            found = how(data, rng)
        except (ValueError, LookupError, TypeError, RecursionError):  # no such format (any more)
            continue
        if found != data:
            return found
    return data + b"?"


# -- bytes --------------------------------------------------------------------------------------------------------


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _flip_head(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    out[rng.randrange(min(len(out), 128))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(out)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _cut_out(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 7, 100, 4096)) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 2, 3, 50))) + data[at:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[: at + rng.choice((1, 16, 500))] + data[at:]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    n = min(rng.choice((4, 64, 100_000)), len(data) - at)
    return data[:at] + rng.choice((b"\0", b"\xff")) * n + data[at + n :]


def _append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice((b"\0" * 100, b"\n", b"<html>", rng.randbytes(30), data[:200]))


def _other(data: bytes, rng: random.Random) -> bytes:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 72862\n"
    return rng.choice((b"", b"\n", b"\0", b"<html>404</html>", b"[" * 100_000, rng.randbytes(50), pointer))


def _encoding(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return b"\xef\xbb\xbf" + data
    return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "latin-1", "utf-7")), "replace")


BYTES = (_flip, _flip, _flip, _flip_head, _flip_head, _cut, _cut, _cut_out, _insert, _repeat, _zeros, _append, _other)
BYTES = (*BYTES, _encoding)


# -- JSON ---------------------------------------------------------------------------------------------------------


def _value(rng: random.Random, old: Any) -> Any:
    near: list[Any] = []
    if isinstance(old, list):
        near = [old + old, old[:-1], old[::-1], dict.fromkeys(map(str, old[:3]))]
    elif isinstance(old, dict):
        near = [list(old), list(old.values()), {str(k) + "x": v for k, v in old.items()}]
    elif isinstance(old, str):
        near = [old[:-1], old + "x", [old], list(old), old.upper()]
    elif isinstance(old, (int, float)) and not isinstance(old, bool):
        near = [-old, old * 1000, old + 0.5 if abs(old) < 1e15 else 0.5, str(old), [old], old == 0]
    deep: Any = []
    for _ in range(rng.choice((3, 60, 400))):
        deep = rng.choice(([deep], {"a": deep}))
    plain = [None, True, False, [], {}, [1, 2, 3], {"a": 1}, [[]], deep]
    return rng.choice([*near, *near, *plain, rng.choice(ODD_TEXTS), rng.choice(ODD_NUMBERS)])


def _places(value: Any, above: tuple = ()) -> list[tuple]:
    """Where something stands: (container, key), containers too; of a long list its ends."""
    found = []
    if isinstance(value, (dict, list)):
        keys: list[Any] = list(value) if isinstance(value, dict) else [*range(len(value))]
        for key in keys if len(keys) < 40 else [*keys[:10], *keys[-10:]]:
            found += [(value, key), *_places(value[key])]
    return found


def _changed(tree: Any, rng: random.Random) -> Any:
    places = _places(tree)
    if not places or rng.random() < 0.03:
        return _value(rng, tree)
    where, key = rng.choice(places)
    how = rng.random()
    if how < 0.15:
        del where[key]
    elif how < 0.25 and isinstance(where, dict):
        where[rng.choice((str(key) + "_", *ODD_TEXTS))] = where.pop(key)
    elif how < 0.35:
        other, its = rng.choice(places)
        where[key], other[its] = other[its], where[key]
    else:
        where[key] = _value(rng, where[key])
    return tree


def _json(data: bytes, rng: random.Random) -> bytes:
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        tree = _changed(tree, rng)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _yaml(data: bytes, rng: random.Random) -> bytes:
    return yaml.safe_dump(_changed(yaml.safe_load(data), rng)).encode("utf-8", "surrogatepass")


def _json_line(data: bytes, rng: random.Random) -> bytes:
    lines = data.rstrip(b"\n").split(b"\n")
    k = rng.randrange(len(lines))
    how = rng.random()
    if how < 0.1:
        lines[k], lines[-1] = lines[-1], lines[k]
    elif how < 0.2:
        lines.insert(k, rng.choice(lines))
    elif how < 0.4:  # the names of two
        j = rng.randrange(len(lines))
        a, b = json.loads(lines[k]), json.loads(lines[j])
        key = 0 if isinstance(a, list) else next(iter(a))
        a[key], b[key] = b[key], a[key]
        lines[k], lines[j] = json.dumps(a).encode(), json.dumps(b).encode()
    else:
        lines[k] = _json(lines[k], rng)
    return b"\n".join(lines) + b"\n"


# -- tables -------------------------------------------------------------------------------------------------------


def _table(data: bytes, rng: random.Random) -> bytes:
    text = data.decode()
    comma = "\t" if "\t" in text[:200] and "," not in text[:200] else ","
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=comma))
    for _ in range(rng.choice((1, 1, 3))):
        _change_rows(rows, rng)
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=comma if rng.random() < 0.95 else rng.choice(";|\t"), lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _change_rows(rows: list[list[str]], rng: random.Random) -> None:
    k = 0 if rng.random() < 0.15 else rng.randrange(len(rows))
    j = rng.randrange(max(len(rows[k]), 1))
    how = rng.random()
    if how < 0.55:
        rows[k][j] = rng.choice((*ODD_TEXTS, rng.choice(rows)[j], rows[k][j] + " ", rows[k][j].upper(), rows[k][0]))
    elif how < 0.62:
        for row in rows:  # a whole column
            row[j] = rng.choice(ODD_TEXTS[:20]) if rng.random() < 0.8 else row[j]
    elif how < 0.7:
        for row in rows:
            del row[j : j + 1]
    elif how < 0.76:
        for row in rows:
            row.append(row[j])
    elif how < 0.84:
        rows[k] = rows[k][:j] if rng.random() < 0.5 else rows[k] + ["x"]
    elif how < 0.92:
        rows.insert(k, list(rng.choice(rows)))
    else:
        del rows[k]


# -- safetensors --------------------------------------------------------------------------------------------------


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    head, body = data[8 : 8 + size], bytearray(data[8 + size :])
    if rng.random() < 0.5:
        head = _json(head, rng)
    else:
        at = rng.randrange(len(body) // 4) * 4
        body[at : at + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), 1e30, -1.0, 0.0, 3.4e38)))
    return struct.pack("<Q", len(head)) + head + bytes(body)
