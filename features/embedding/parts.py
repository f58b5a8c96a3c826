"""One part of N of a dataset's images, so that N processes on any number of machines fill one cache together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dermfuse.cache.errors import usage_error
from dermfuse.features.data.content import Content
from dermfuse.features.data.dataset import Dataset

# Nobody has more processes; a number beyond it is a slip.
MOST_PARTS = 1_000_000
_FORM = re.compile(r"\s*([0-9]{1,12})\s*/\s*([0-9]{1,12})\s*")
_ARRAY = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`: rows number-1, number-1+count, ... of a dataset in its canonical order.

    Every row is in exactly one of the parts 1 to count, and their sizes differ by one at most. Neighbours in a table,
    which often are of one size, come into different parts.

    Attributes
    ----------
    number, count : int
        From 1/1, which is everything.
    source : str or None
        The variable of the environment that says so; None for the command line.

    Examples
    --------
    >>> list(range(7))[Part(2, 3).rows]
    [1, 4]
    >>> print(Part(2, 3))
    2/3
    """

    number: int
    count: int
    source: str | None = None

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def rows(self) -> slice:
        """Positions of the part's rows."""
        return slice(self.number - 1, None, self.count)

    def of(self, dataset: Dataset) -> Dataset:
        """The dataset with the part's rows alone."""
        return dataset.keep(self.rows)

    def of_content(self, content: Content, dataset: Dataset) -> Content:
        """What the part's files hold, of what the files of the whole `dataset` hold."""
        files = {str(Path(path).absolute()) for path in dataset.rows["path"].iloc[self.rows]}
        return Content(content.keys[self.rows], [row for row in content.unreadable if row.path in files])


def part_wanted(flag: str | None, environment: Mapping[str, str] = os.environ) -> Part | None:
    """The part that this process is asked for.

    Parameters
    ----------
    flag : str or None
        ``I/N``, as on the command line. It goes before the environment, so that ``1/1`` turns that off.
    environment : mapping of str to str
        Looked into without a flag: a SLURM array's ``SLURM_ARRAY_TASK_ID`` with ``_COUNT``, ``_MIN`` and ``_STEP``, or
        ``RANK`` (from 0) with ``WORLD_SIZE``, as torchrun and others set them.

    Returns
    -------
    Part or None
        None for everything.

    Raises
    ------
    UserError
        With exit code 2, if what is given is no part.
    """
    part = _from_flag(flag) if flag is not None else _from_array(environment) or _from_rank(environment)
    return None if part is None or part.count == 1 else part


def _from_flag(flag: str) -> Part:
    match = _FORM.fullmatch(flag)
    if match is None:
        raise usage_error(f"--shard {flag!r} is not of the form I/N. Give 3/8, say, for the third of eight parts.")
    return _checked(int(match[1]), int(match[2]), f"--shard {flag}", None)


def _from_array(environment: Mapping[str, str]) -> Part | None:
    if not (environment.get(f"{_ARRAY}ID") and environment.get(f"{_ARRAY}COUNT")):
        return None
    task, count = _number(environment, f"{_ARRAY}ID"), _number(environment, f"{_ARRAY}COUNT")
    first, step = _number(environment, f"{_ARRAY}MIN", 1), _number(environment, f"{_ARRAY}STEP", 1)
    number, rest = divmod(task - first, step or 1)
    given = f"{_ARRAY}ID={task} of {count} tasks from {first} in steps of {step}"
    if rest:
        raise _no_part(given)
    return _checked(number + 1, count, given, f"{_ARRAY}ID")


def _from_rank(environment: Mapping[str, str]) -> Part | None:
    if not (environment.get("RANK") and environment.get("WORLD_SIZE")):
        return None
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    return _checked(rank + 1, size, f"RANK={rank} with WORLD_SIZE={size}", "RANK")


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name) or (None if default is None else str(default))
    if text is None or not re.fullmatch("[0-9]{1,12}", text.strip()):
        raise usage_error(f"{name}={text!r} is no whole number. Mend it, or give --shard I/N; 1/1 is everything.")
    return int(text)


def _checked(number: int, count: int, given: str, source: str | None) -> Part:
    if not 1 <= number <= count <= MOST_PARTS:
        raise _no_part(given)
    return Part(number, count, source)


def _no_part(given: str) -> Exception:
    return usage_error(
        f"{given} is no part. Expected one of 1/N to N/N with N up to {MOST_PARTS:,}, as from an array of tasks "
        "without gaps. Give --shard I/N; 1/1 is everything."
    )
