"""Dataset folders that the tests write, and what is said when one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.tables.columns import Layout
from tests.features.pictures import write_pictures

NAMES = [f"ISIC_{n:07}" for n in range(24306, 24314)]
COLUMNS = Layout(image="file", label="kind")


def write_plain(folder: Path, text: str, images: list[str] = (), table: str = "table.csv") -> Path:
    """A folder with one table, and images of these names."""
    write_pictures(folder, list(images))
    (folder / table).write_text(text)
    return folder


def refusal(folder: Path, flags: Layout | None = None) -> UserError:
    """The error of loading a folder, which is one line that ends in what to do."""
    with pytest.raises(UserError) as caught:
        load_dataset(folder, flags)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", ")"))
    return caught.value
