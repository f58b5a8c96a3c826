"""What errors and notices tell a person to give is there: every flag they name is one of the commands meant."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer.main

from dermfuse import cli

ROOT = Path(__file__).resolve().parents[1]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Of other programs, in lines that begin with their name.
FOREIGN = re.compile(r"pip install [^.]*")
NAMED = re.compile(r"(?:python cli\.py |(?<=')|(?<=give ))(cache \w+|[a-z]+)(?=['\s])")
# Commands in which what a file says can come up; where several can, each of them has the flag. All others are of one
# room's commands alone, and of those with the flag.
FITS, READS_TABLE = {"fit", "ablate"}, {"extract", "fit", "ablate", "audit"}
RAISED_IN = {
    "features/data/dataset.py": READS_TABLE,
    "features/images/workers.py": {"extract", "predict", "demo"},
    "features/data/labels.py": READS_TABLE,
    "features/tables/columns.py": READS_TABLE,
    "features/data/metadata.py": READS_TABLE,
    "features/data/recognise.py": READS_TABLE,
    "features/runtimes/runtime.py": {"extract", "predict", "demo"},
    "features/extractors/weights.py": {"extract", "predict", "demo"},
    "pipelines/workflows/ablate.py": {"ablate"},
    "pipelines/prediction/clinical.py": {"predict"},
    "pipelines/workflows/extract.py": {"extract"},
    "pipelines/workflows/fit.py": FITS,
    "pipelines/model/zoo.py": FITS,
    "pipelines/options/fit.py": FITS,
    "features/embedding/parts.py": {"extract"},
    "pipelines/runs/run_folder.py": FITS,
    "pipelines/evaluation/splits.py": {*FITS, "audit"},
    "pipelines/model/table.py": FITS,
}


def flags() -> dict[str, set[str]]:
    """The flags of each command; ``cache ls`` and the like are commands, too."""
    found = {}
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        several = {f"{name} {n}": c for n, c in getattr(command, "commands", {}).items()} or {name: command}
        found |= {n: {flag for p in c.params for flag in p.opts} for n, c in several.items()}
    return found


COMMANDS = flags()


def texts(path: Path) -> list[tuple[int, str]]:
    """The literals of a file with their lines, those with values in them as one; docstrings are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(value) for node in joined for value in ast.walk(node) if value is not node}
    found = []
    for node in ast.walk(tree):
        if id(node) in documents | inside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "X" for v in node.values]
            found.append((node.lineno, "".join(map(str, parts))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((node.lineno, node.value))
    return found


ROOMS = ("cache", "features", "pipelines", "reports", "dermfuse")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
ADVICE = [
    (path.relative_to(ROOT).as_posix(), line, FOREIGN.sub("", text))
    for path in SOURCES
    for line, text in texts(path)
    if FLAG.search(FOREIGN.sub("", text)) and " " in text
]


def test_there_is_advice_to_look_at():
    assert len(ADVICE) > 60 and len(COMMANDS) > 10


@pytest.mark.parametrize(("place", "line", "text"), ADVICE, ids=[f"{place}:{line}" for place, line, _ in ADVICE])
def test_every_flag_that_a_person_is_told_of_is_there(place, line, text):
    told = set(FLAG.findall(text))
    assert told <= {"--help", *set().union(*COMMANDS.values())}
    # The demo is named as a way out by itself, without flags.
    named = {name for name in NAMED.findall(text) if name in COMMANDS} - {"demo"}
    if named:
        assert told <= {"--help"}.union(*(COMMANDS[name] for name in named))
        return
    # An ablation has images and metadata, or is refused before.
    alone = {"ablate"} if told & {"--no-images", "--no-metadata"} else set()
    for command in RAISED_IN.get(place, set()) - alone:
        assert told <= COMMANDS[command], f"{command} has no {sorted(told - COMMANDS[command])}"
