"""A model file that is damaged, or made to harm, is refused in one line: it ends no process and fills no memory."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.model.zoo import MODELS
from dermfuse.pipelines.runs import modelfile, modelparts
from tests.pipelines.mutations import ROWS, Reader, members_of, mutated, packed
from tests.pipelines.tables import evidence_of, problem

# Mutations that were wrong once: numbers that run out of range with other rows than those it is tried with; a booster
# that asks for all the memory there is.
FOUND_ONCE = (735, 826)


@pytest.fixture(scope="module", params=list(MODELS))
def saved(request, tmp_path_factory) -> Path:
    """A folder with the file of a small model, and rows to predict."""
    folder = tmp_path_factory.mktemp(request.param)
    given = problem(folds=2)
    model = evidence_of(given, request.param, "weights" if request.param == "rf" else "none").model
    if request.param == "rf":
        for part in (model.whole, model.without):
            forest = part.pipeline["model"].estimator_
            forest.estimators_ = forest.estimators_[:3]
    modelfile.save_model(folder, model)
    given.table.X.to_parquet(folder / ROWS)
    return folder


@pytest.fixture(scope="module")
def reader():
    """A process of its own that reads model files."""
    with Reader() as process:
        yield process


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        modelfile.load_model(folder)
    assert "\n" not in str(caught.value) and modelfile.MODEL in str(caught.value)
    return str(caught.value)


def test_whatever_is_wrong_in_a_file_it_is_refused_in_one_line_or_it_predicts(saved, reader, tmp_path, mutations):
    model, told = (saved / modelfile.MODEL).read_bytes(), []
    (tmp_path / ROWS).write_bytes((saved / ROWS).read_bytes())
    for number in sorted({*range(mutations), *FOUND_ONCE}):
        damaged = mutated(model, np.random.default_rng(number))
        (tmp_path / modelfile.MODEL).write_bytes(damaged)
        told.append((number, reader.outcome(tmp_path)))
    assert not [entry for entry in told if entry[1].startswith("WRONG")]
    assert sum(said != "loaded" for _, said in told) > mutations / 4


def test_an_untouched_file_is_read(saved, reader):
    assert reader.outcome(saved) == "loaded"


# ---- trees


@pytest.fixture(scope="module")
def forest(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("forest")
    modelfile.save_model(folder, evidence_of(problem(folds=2), "rf", "none").model)
    return (folder / modelfile.MODEL).read_bytes()


def with_nodes(model: bytes, change) -> bytes:
    """The file with `change` done to the nodes of its first tree that has inner ones."""
    members = members_of(model)
    for name, content in members.items():
        if not name.endswith(".npy"):
            continue
        array = np.load(io.BytesIO(content))
        if array.dtype.names and len(array) > 3:
            change(array)
            out = io.BytesIO()
            np.save(out, array)
            members[name] = out.getvalue()
            return packed(members)
    raise AssertionError("it has no tree")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("left_child", 2**40, "lead outside"),
        ("right_child", 0, "or back"),
        ("left_child", -7, "lead outside of it, or back"),
        ("feature", 10_000, "other columns"),
        ("feature", -3, "other columns"),
        ("threshold", np.nan, "no numbers"),
        ("left_child", 2, "reached twice|lead outside"),
    ],
)
def test_a_tree_whose_nodes_lead_astray_is_refused_before_it_is_made(forest, tmp_path, field, value, said):
    def change(nodes):
        nodes[field][0] = value

    (tmp_path / modelfile.MODEL).write_bytes(with_nodes(forest, change))
    assert re.search(said, refused(tmp_path))


def test_a_tree_that_counts_other_nodes_than_it_has_is_refused(forest, tmp_path):
    members = members_of(forest)
    schema = members[modelparts.SCHEMA_FILE].decode()
    own = re.compile(r'("node_count": \{[^}]*"content": )"\d+"')
    assert own.search(schema)
    members[modelparts.SCHEMA_FILE] = own.sub(r'\1"1000000"', schema, count=1).encode()
    (tmp_path / modelfile.MODEL).write_bytes(packed(members))
    assert "nodes in place of 1000000" in refused(tmp_path)


# ---- the archive


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("plain")
    modelfile.save_model(folder, evidence_of(problem(folds=2)).model)
    return (folder / modelfile.MODEL).read_bytes()


def test_a_file_that_unpacks_to_much_more_is_not_unpacked(plain, tmp_path):
    with zipfile.ZipFile(tmp_path / modelfile.MODEL, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(modelparts.SCHEMA_FILE, b" " * (64 << 20) + b"{}")
    assert "would unpack to 67.1 MB" in refused(tmp_path)


def test_links_doubles_and_strange_packing_are_refused(plain, tmp_path):
    members = members_of(plain)

    def write(change) -> str:
        with zipfile.ZipFile(tmp_path / modelfile.MODEL, "w") as file:
            for name, content in members.items():
                file.writestr(zipfile.ZipInfo(name), content)
            change(file)
        return refused(tmp_path)

    link = zipfile.ZipInfo("link.npy")
    link.external_attr = 0o120777 << 16
    assert "no regular file" in write(lambda file: file.writestr(link, "/etc/passwd"))
    with pytest.warns(UserWarning, match="Duplicate"):
        assert "two members of one name" in write(lambda file: file.writestr(modelparts.SCHEMA_FILE, "{}"))
    assert "packed in an unknown way" in write(lambda file: file.writestr("x.npy", b"1", zipfile.ZIP_BZIP2))


def test_an_array_that_promises_more_than_follows_is_refused_before_room_is_made(plain, tmp_path):
    members = members_of(plain)
    name = next(name for name in members if name.endswith(".npy"))
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)})
    members[name] = out.getvalue() + bytes(64)
    (tmp_path / modelfile.MODEL).write_bytes(packed(members))
    assert "promises" in refused(tmp_path)


def test_two_things_under_one_number_are_refused(plain, tmp_path):
    members = members_of(plain)
    schema = json.loads(members[modelparts.SCHEMA_FILE])
    inner = next(value for value in schema["content"]["content"].values() if value.get("__id__"))
    inner["__id__"] = schema["__id__"]
    members[modelparts.SCHEMA_FILE] = json.dumps(schema).encode()
    (tmp_path / modelfile.MODEL).write_bytes(packed(members))
    assert "have one number" in refused(tmp_path)
