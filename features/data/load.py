"""A dataset as Python asks for it: the columns by keyword, what was noticed on stderr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dermfuse.features.console import Console
from dermfuse.features.data import dataset
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.tables.columns import layout_from_flags


def load_dataset(
    folder: str | Path,
    *,
    table: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    metadata_columns: str | Sequence[str] | Mapping[str, str] | None = None,
    malignant: str | Sequence[str] | None = None,
    positive: str | None = None,
    quiet: bool = False,
) -> Dataset:
    """Read a folder with a table and images; what each command does with ``--data``.

    HAM10000, ISIC 2018 to 2020 and PAD-UFES-20 are known by their columns, any other by the keywords or by a
    ``dataset.toml`` beside the table.

    Parameters
    ----------
    folder : path-like
        Holds a table (text or a workbook) and, anywhere below it, image files.
    table : str, optional
        File name of the table.
    image_column, label_column, group_column : str, optional
        Columns with the image names, the labels, and the lesion or patient that images share.
    metadata_columns : sequence of str or mapping of str to {"number", "category"}, optional
        Without a kind, ages are numbers and everything else categories.
    malignant : sequence of str, optional
        Classes that are malignant; all others are benign then.
    positive : str, optional
        Of two classes, the one that AUC and sensitivity are of.
    quiet : bool, default=False
        Do not print what was left out or read in another way.

    Returns
    -------
    Dataset
        With ``X`` (a DataFrame by image id: ``path`` and the metadata columns), ``y`` and ``groups`` (arrays of str).

    Raises
    ------
    UserError
        No such folder, no table, no label column, no image that matches, duplicated ids.

    Examples
    --------
    >>> import tempfile
    >>> from dermfuse.features.demo.synthetic import make_dataset
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = make_dataset(f"{place}/data", lesions=56, size=32)
    ...     data = load_dataset(f"{place}/data", metadata_columns={"age": "number"}, quiet=True)
    >>> list(data.X), len(data.X) == len(data.y) == len(data.groups)
    (['path', 'age'], True)
    """
    given = {
        "table": table,
        "image_column": image_column,
        "label_column": label_column,
        "group_column": group_column,
        "metadata_columns": _by_comma(metadata_columns),
        "malignant": _by_comma(malignant),
        "positive": positive,
    }
    read = dataset.load_dataset(Path(folder), layout_from_flags(*given.values()))
    Console(quiet).notice(*read.noticed)
    return replace(read, flags={name: value for name, value in given.items() if value is not None})


def _by_comma(names: str | Sequence[str] | Mapping[str, str] | None) -> str | None:
    """Names as the command line gives them, so that the report can print the command."""
    if names is None or isinstance(names, str):
        return names
    return ",".join(f"{name}={kind}" for name, kind in names.items()) if isinstance(names, Mapping) else ",".join(names)
