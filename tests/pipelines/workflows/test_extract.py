"""What extractors that learn may see of a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermfuse.features.console import Console
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.extractors import learned
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.workflows.extract import embed_dataset
from tests.features.folders import write_plain


def test_the_autoencoder_learns_from_no_row_of_the_own_split(tmp_path, monkeypatch):
    names = [f"p{i}.jpg" for i in range(8)]
    lines = [
        f"{name},{'nv' if i % 2 else 'mel'},g{i // 2},{'test' if i in (0, 5) else ''}" for i, name in enumerate(names)
    ]
    write_plain(tmp_path, "\n".join(["file,kind,lesion,part", *lines]) + "\n", names)
    (tmp_path / "dataset.toml").write_text('image = "file"\nlabel = "kind"\ngroup = "lesion"\nsplit = "part"\n')
    seen = {}

    class AskedForError(Exception):
        pass

    def noted(paths, learn, allowed, *rest):
        names = {key: Path(path).name for key, path in paths.items()}
        seen.update(learn={names[key] for key in learn}, allowed={names[key] for key in allowed})
        raise AskedForError

    monkeypatch.setattr(learned, "autoencoder_for", noted)
    with pytest.raises(AskedForError):
        embed_dataset(
            load_dataset(tmp_path), Stage1Options(["cae"], device="cpu"), tmp_path / "cache", Console(quiet=True)
        )
    # Groups g0 and g2 have a row in the own test split.
    assert seen == {name: {"p2.jpg", "p3.jpg", "p6.jpg", "p7.jpg"} for name in ("learn", "allowed")}
