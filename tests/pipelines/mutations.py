"""Model files that are damaged or made to harm, and a process of its own that reads them."""

from __future__ import annotations

import io
import json
import multiprocessing
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.runs import modelfile, modelparts
from dermfuse.pipelines.runs.agreement import answers_of

# Nothing in a small model takes so long; a loop in native code would.
SECONDS = 120
ROWS = "rows.parquet"
EXTREMES = (-1, -2, 2**31 - 1, 2**62, -(2**62), 1_000_003)
NUMBERS = (np.nan, np.inf, -np.inf, 1e308, -1e308)


def members_of(model: bytes) -> dict[str, bytes]:
    """The members of a model file."""
    with zipfile.ZipFile(io.BytesIO(model)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def packed(members: dict[str, bytes]) -> bytes:
    """A model file of these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def mutated(model: bytes, rng: np.random.Generator) -> bytes:
    """The same file with one thing wrong, drawn from all kinds."""
    kinds = (_flip, _cut, _array, _array, _array, _array, _swap, _schema, _schema, _booster, _archive)
    return kinds[rng.integers(len(kinds))](model, rng)


def _flip(model: bytes, rng) -> bytes:
    damaged = bytearray(model)
    for place in rng.integers(0, len(model), rng.integers(1, 5)):
        damaged[place] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def _cut(model: bytes, rng) -> bytes:
    return model[: rng.integers(0, len(model))]


def _array(model: bytes, rng) -> bytes:
    """Change values, the shape or the type of one array."""
    members = members_of(model)
    name = rng.choice([n for n in members if n.endswith(".npy")])
    array = np.load(io.BytesIO(members[name]))
    ways: list[Callable] = [lambda a: a[: len(a) // 2], lambda a: np.concatenate([a, a]), lambda a: a[:0]]
    ways = ways if array.ndim else []
    ways += [lambda a: a.reshape(-1)[:1], lambda a: a.reshape((1, *a.shape)), _other_type, _text]
    ways += [lambda a: _set(a, rng)] * 6
    members[name] = _saved(ways[rng.integers(len(ways))](array))
    return packed(members)


def _other_type(array: np.ndarray) -> np.ndarray:
    if array.dtype.names:
        return array.view(np.uint8)
    return array.astype(np.int64 if array.dtype.kind == "f" else np.float32)


def _text(array: np.ndarray) -> np.ndarray:
    return np.full(array.shape, "x")


def _set(array: np.ndarray, rng) -> np.ndarray:
    """Put a value that does not belong there into one or all places of an array."""
    array = array.copy()
    field = array[rng.choice(array.dtype.names)] if array.dtype.names else array
    if not field.size or field.dtype.kind not in "fiub":
        return array
    value = rng.choice(NUMBERS if field.dtype.kind == "f" else EXTREMES)
    with np.errstate(all="ignore"):
        value = np.array(value).astype(field.dtype)
    if rng.random() < 0.3 or not field.ndim:
        field[...] = value
    else:
        field.reshape(-1)[rng.integers(field.size)] = value
    return array


def _swap(model: bytes, rng) -> bytes:
    """Let two members change places."""
    members = members_of(model)
    first, second = rng.choice([n for n in members if n != modelparts.SCHEMA_FILE], 2, replace=False)
    members[first], members[second] = members[second], members[first]
    return packed(members)


def _schema(model: bytes, rng) -> bytes:
    """Change one entry of the schema: a number, a name, or what it stands for."""
    members = members_of(model)
    schema = json.loads(members[modelparts.SCHEMA_FILE])
    places: list[tuple] = []
    waiting: list = [schema]
    while waiting:
        node = waiting.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    node, key = places[rng.integers(len(places))]
    other, place = places[rng.integers(len(places))]
    choices = [None, -1, 2**62, "", "9" * 400, "NaN", [], {}, other[place]]
    if rng.random() < 0.2 and isinstance(node, dict):
        del node[key]
    else:
        chosen = choices[rng.integers(len(choices))]
        node[key] = json.loads(json.dumps(chosen))
    members[modelparts.SCHEMA_FILE] = json.dumps(schema).encode()
    return packed(members)


def _booster(model: bytes, rng) -> bytes:
    """Change bytes inside a booster; of a model that has none, those of an array."""
    members = members_of(model)
    names = [n for n in members if not n.endswith((".npy", ".json"))] or [n for n in members if n.endswith(".npy")]
    name = rng.choice(names)
    damaged = bytearray(members[name])
    for place in rng.integers(0, len(damaged), rng.integers(1, 9)):
        damaged[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    members[name] = bytes(damaged)
    return packed(members)


def _archive(model: bytes, rng) -> bytes:
    """Tricks of the archive: a member twice, a link, one that unpacks to much, one that is not there."""
    members = members_of(model)
    out, trick = io.BytesIO(), rng.integers(4)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        names = list(members)
        chosen = names[rng.integers(len(names))]
        for name in names:
            if trick == 0 and name == chosen:
                continue
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if trick == 1 and name == chosen else 0o100644) << 16
            content = bytes(200 * len(model) + (1 << 25)) if trick == 2 and name == chosen else members[name]
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    if trick < 3:
        return out.getvalue()
    damaged = bytearray(out.getvalue())
    place = damaged.rindex(b"PK\x01\x02") + 24
    damaged[place : place + 4] = int(rng.integers(2**32)).to_bytes(4, "little")
    return bytes(damaged)


def _saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


class Reader:
    """A process that loads model files and predicts with them; it is started again when one of them ends it."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end()

    def outcome(self, folder: Path) -> str:
        """``loaded``, the line with which the file was refused, or what went wrong, which begins with ``WRONG``."""
        if self._process is None:
            self._pipe, theirs = self._context.Pipe()
            self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._pipe.send(folder)
        try:
            if self._pipe.poll(SECONDS):
                return self._pipe.recv()
            said = f"WRONG: no answer in {SECONDS} s"
        except EOFError:
            self._process.join()
            said = f"WRONG: the process ended with {self._process.exitcode}"
        self._end()
        return said

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(pipe) -> None:
    import warnings

    warnings.simplefilter("ignore")
    while True:
        try:
            folder = pipe.recv()
        except EOFError:
            return
        pipe.send(_read(folder))


def _read(folder: Path) -> str:
    import pandas as pd

    try:
        model = modelfile.load_model(folder)
        with np.errstate(all="ignore"):
            answers_of(model, pd.read_parquet(folder / ROWS), folder / modelfile.MODEL)
    except UserError as error:
        one_line = "\n" not in str(error) and str(folder / modelfile.MODEL) in str(error)
        return str(error) if one_line else f"WRONG: not one line with the file's name: {error}"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {error}"
    return "loaded"
