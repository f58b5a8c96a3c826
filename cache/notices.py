"""What the cache tells its caller: damage that it found, and problems that it worked around."""

from __future__ import annotations

import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """One thing in the store that is not what was written.

    Attributes
    ----------
    block : str
        Name of the block's folder.
    shard : str or None
        Name of the shard, or None when the block's own ``recipe.json`` is damaged.
    reason : str
        What is wrong, in words.

    Examples
    --------
    >>> print(Damage("cae-0123456789abcdef", None, "recipe.json is missing"))
    cae-0123456789abcdef: recipe.json is missing
    """

    block: str
    shard: str | None
    reason: str

    def __str__(self) -> str:
        where = self.block if self.shard is None else f"{self.block}/{self.shard}"
        return f"{where}: {self.reason}"


def warn(what: object) -> None:
    """The default for every callback of this package, so that nothing is worked around in silence.

    Parameters
    ----------
    what : object
        Printed as text.
    """
    warnings.warn(f"embedding cache: {what}", stacklevel=3)
