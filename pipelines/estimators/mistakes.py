"""Mistakes as scikit-learn's users expect them: a ``ValueError`` that names a parameter and no flag."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dermfuse.cache.errors import UserError

# What scikit-learn calls by another name.
NAMES = {"seed": "random_state", "jobs": "n_jobs"}


class InputError(UserError, ValueError):
    """A mistake in what an estimator was given.

    Examples
    --------
    >>> try:
    ...     with told_as_input_error():
    ...         raise UserError("--select-k 0 selects nothing. Give 1 or more.")
    ... except ValueError as error:
    ...     print(error)
    select_k 0 selects nothing. Give 1 or more.
    """


@contextmanager
def told_as_input_error() -> Iterator[None]:
    """Turn the mistakes of the block into :class:`InputError`, flags in their sentences into parameters."""
    try:
        yield
    except InputError:
        raise
    except UserError as error:
        raise InputError(re.sub(r"--([a-z][a-z-]*)", _parameter, str(error)), error.exit_code) from None


def _parameter(flag: re.Match) -> str:
    name = flag[1].replace("-", "_")
    return NAMES.get(name, name)
