"""The embedder finds what ``extract`` made and makes what ``extract`` finds; bad files are told; metadata stays."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.pipelines.estimators import embedder as module
from dermfuse.pipelines.estimators.classifier import FusionClassifier
from dermfuse.pipelines.estimators.embedder import ImageEmbedder
from dermfuse.pipelines.estimators.mistakes import InputError
from dermfuse.pipelines.workflows.extract import Stage1Options, embed_dataset

NAME, IMAGES = "efficientnet_lite0", 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six pictures of noise, and one that is none."""
    place = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(place / f"image{i}.png")
    (place / "bad.png").write_bytes(b"no picture")
    return place


@pytest.fixture(scope="module")
def paths(folder) -> list[str]:
    return sorted(map(str, folder.glob("image*.png")))


@pytest.fixture(scope="module")
def cache(tmp_path_factory, paths) -> Path:
    """A cache into which ``extract`` has put the first four pictures."""
    root = tmp_path_factory.mktemp("cache")
    options = Stage1Options([NAME], workers=0)
    embed_dataset(module._images(paths[:4]), options, root, Console(quiet=True))
    return root


def make(cache, **parameters) -> ImageEmbedder:
    return ImageEmbedder(NAME, cache=cache, **{"workers": 0, **parameters})


@pytest.fixture
def no_network(monkeypatch):
    """Whatever computes an embedding fails."""

    def refuse(*_, **__):
        raise AssertionError("an embedding that the cache holds was computed again")

    for name in ("embed_dataset", "extract", "extractor_of"):
        monkeypatch.setattr(module, name, refuse)


def test_what_extract_made_is_found_and_no_network_is_loaded(cache, paths, no_network):
    (block,) = Store(cache).blocks(NAME)
    found = make(cache).fit(paths[:4])
    assert (found.key_, found.recipe_, found.width_) == (block.key, block.recipe, 1280)
    table = found.transform(paths[:4])
    assert np.array_equal(table.to_numpy(), block.gather([key_of(path) for path in paths[:4]]))
    assert set(table.dtypes) == {np.dtype(np.float32)}
    assert list(table.columns[:2]) == [f"{NAME}:0000", f"{NAME}:0001"]


def key_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_new_images_go_into_the_same_block_once(tmp_path, paths, monkeypatch):
    first = make(tmp_path).fit(paths[:2])
    made = first.transform(paths)
    (block,) = Store(tmp_path).blocks(NAME)
    assert block.key == first.key_ and len(block.row_keys) == IMAGES
    computed = []
    monkeypatch.setattr(module, "extract", lambda *_: computed.append(1))
    assert first.transform(paths[::-1]).to_numpy() == pytest.approx(made.to_numpy()[::-1])
    summary = embed_dataset(module._images(paths), Stage1Options([NAME], workers=0), tmp_path, Console(quiet=True))
    assert (summary.blocks[0].computed, summary.blocks[0].reused, computed) == (0, IMAGES, [])


@pytest.mark.parametrize(
    "given", [list, tuple, np.array, pd.Series, lambda p: np.array(p)[:, None], lambda p: [*map(Path, p)]]
)
def test_paths_may_come_in_any_form(cache, paths, given):
    table = make(cache).fit_transform(given(paths[:4]))
    assert table.shape == (4, 1280) and table.notna().all(axis=None)


def test_other_columns_of_a_frame_pass_through_by_its_index(cache, paths):
    frame = pd.DataFrame(
        {"age": [40.0, None, 50.0, 60.0], "path": paths[:4], "sex": ["m", "f", None, "m"]}, list("abcd")
    )
    found = make(cache).fit(frame)
    table = found.transform(frame)
    assert list(table.index) == list("abcd")
    assert list(table.columns[-2:]) == ["age", "sex"] and table["sex"].tolist()[:2] == ["m", "f"]
    assert list(found.get_feature_names_out()) == list(table.columns)
    assert list(make(cache).set_output(transform="pandas").fit_transform(frame).columns) == list(table.columns)


def test_it_stands_in_pipelines_and_column_transformers(cache, paths):
    frame = pd.DataFrame({"path": paths[:4] * 6, "age": np.tile([30.0, 40.0, 50.0, 60.0], 6)})
    y = np.tile(["a", "a", "b", "b"], 6)
    model = FusionClassifier("logreg", folds=2, balance="none", n_jobs=1)
    assert make_pipeline(make(cache), model).fit(frame, y).score(frame, y) == 1
    columns = ColumnTransformer([("image", make(cache), "path")], remainder="passthrough")
    columns.set_output(transform="pandas").set_params(verbose_feature_names_out=False)
    assert columns.fit_transform(frame).shape == (24, 1281)
    assert clone(make(cache, views=2)).get_params()["views"] == 2


def test_it_has_to_be_fitted_first(cache, paths):
    with pytest.raises(NotFittedError):
        make(cache).transform(paths)


def test_files_that_are_no_images_are_refused_or_nan(cache, folder, paths):
    given = [paths[0], str(folder / "bad.png"), str(folder / "absent.png"), paths[1]]
    with pytest.raises(InputError, match=r"2 of the files can not be embedded \(first: .*bad_images='nan'"):
        make(cache).fit(given)
    with pytest.raises(InputError, match="can not be embedded"):
        make(cache).fit(paths).transform(given)
    table = make(cache, bad_images="nan").fit_transform(given)
    assert table.isna().all(axis=1).tolist() == [False, True, True, False]


def test_relative_paths_are_found_and_told(cache, folder, monkeypatch):
    monkeypatch.chdir(folder)
    table = make(cache, bad_images="nan").fit_transform(["image0.png", f"../{folder.name}/bad.png"])
    assert table.isna().all(axis=1).tolist() == [False, True]


def test_what_cannot_be_read_at_all_is_all_nan_and_makes_no_error(tmp_path, folder):
    table = make(tmp_path, bad_images="nan").fit_transform([str(folder / "bad.png")])
    assert table.shape == (1, 1280) and table.isna().all(axis=None)


@pytest.mark.parametrize(
    ("parameters", "given", "told"),
    [
        ({"extractor": "cae"}, None, "'python cli.py extract --features cae'"),
        ({"extractor": "resnet"}, None, "unknown extractor 'resnet'. Known: "),
        ({"views": 3}, None, "views is 3, but expected"),
        ({"levels": "all"}, None, "levels"),
        ({"bad_images": "drop"}, None, "Expected 'error' or 'nan'"),
        ({}, "image.png", "Expected a list of paths, as in ['image.png']"),
        ({}, [], "Expected paths of image files, one or more"),
        ({}, [1.5], "X holds 1.5, which is no path"),
        ({}, pd.DataFrame({"image": ["a.png"]}), "X has no column 'path'; its columns are 'image'"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_what_cannot_be_meant_is_a_value_error(cache, paths, parameters, given, told):
    with pytest.raises(ValueError) as refused:
        make(cache).set_params(**parameters).fit(paths if given is None else given)
    assert told in str(refused.value)


def test_another_recipe_is_a_block_of_its_own_and_weights_that_are_named_are_used(tmp_path, paths):
    plain, turned = make(tmp_path).fit(paths[:1]), make(tmp_path, views=2)
    with pytest.warns(UserWarning, match="of another recipe"):
        turned.fit(paths[:1])
    assert plain.key_ != turned.key_
    with pytest.raises(UserError, match="weights"):
        make(tmp_path, weights_dir=tmp_path / "absent").fit(paths[:1])


def test_a_script_without_a_guard_may_use_decoding_processes(tmp_path, paths):
    script = tmp_path / "script.py"
    script.write_text(
        "import dermfuse\n"
        "print('begun')\n"
        f"made = dermfuse.ImageEmbedder({NAME!r}, cache={str(tmp_path / 'cache')!r}, workers=2)\n"
        f"print(made.fit_transform({paths!r}).shape)\n"
    )
    root = Path(module.__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == f"begun\n({IMAGES}, 1280)\n", done.stderr
