"""Parts of audits: computed once for the same data, kept and shared, the same with and without, and never stale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.findings import AUDITS
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.pipelines.audit import columns, image_files, near, optimism
from dermfuse.pipelines.audit.memo import Findings, digest_of, findings_of
from dermfuse.pipelines.audit.whole import run_audit
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs.run_folder import read_json
from dermfuse.pipelines.workflows.ablate import ablate
from tests.pipelines.audit.planting import LEAKS, planted
from tests.pipelines.conftest import FOLDS

PARTS = {"columns", "copies", "files", "names", "optimism"}


@pytest.fixture
def counted(monkeypatch):
    """How often each costly step ran."""
    counts = {}

    def count(room, name):
        real = getattr(room, name)

        def wrapped(*arguments):
            counts[name] = counts.get(name, 0) + 1
            return real(*arguments)

        monkeypatch.setattr(room, name, wrapped)

    for room, name in ((near, "compare_nearest"), (columns, "_told"), (image_files, "_of_files"), (optimism, "_gap")):
        count(room, name)
    return counts


@pytest.fixture
def root(tmp_path):
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def audited(given, findings=None):
    return run_audit(given, Console(quiet=True), findings)


def facts(audit):
    pairs = None if audit.pairs is None else [part.tolist() for part in vars(audit.pairs).values()]
    return audit.as_json(), audit.rows_csv(), pairs


@pytest.fixture(scope="module")
def leaky(clean_folder, tmp_path_factory):
    """What the audit is given of a dataset with near-copies in two groups, one of them in the locked test split."""
    folder = tmp_path_factory.mktemp("leaky") / "data"
    return planted(LEAKS["re-encoded copy across splits"], clean_folder(0), folder, 0)


def test_an_audit_says_the_same_with_and_without_what_was_kept(leaky, root, counted):
    alone = facts(audited(leaky))
    first, again = (facts(audited(leaky, Findings(root))) for _ in range(2))
    assert alone == first == again and alone[2] is not None
    assert set(counted.values()) == {2}  # alone, and first
    assert {path.name.rpartition("-")[0] for path in (root / AUDITS).iterdir()} == PARTS


def test_in_memory_it_is_shared_without_a_cache(clean, counted, tmp_path):
    shared = Findings(tmp_path / "none")
    assert facts(audited(clean, shared)) == facts(audited(clean, shared))
    assert set(counted.values()) == {1}
    assert not (tmp_path / "none").exists()


def test_which_columns_are_features_is_told_rightly_though_the_search_is_shared(clean_folder, tmp_path, counted, root):
    given = planted(LEAKS["leak column as a feature"], clean_folder(0), tmp_path / "leak", 0)
    used = audited(given, Findings(root))["COLUMN_VALUES"]
    unused = audited(replace(given, used=("age",)), Findings(root))["COLUMN_VALUES"]
    assert (used.severity, unused.severity) == ("error", "warning")
    assert "None of them is a feature." in unused.sentence
    assert set(counted.values()) == {1}


def relabelled(given):
    labels = given.labels.copy()
    labels[np.flatnonzero(given.fold >= 0)[:1]] = "mel"
    return replace(given, dataset=replace(given.dataset, rows=given.dataset.rows.assign(label=labels)))


def with_cell(given):
    unused = given.dataset.unused.assign(note=pd.Series("x", given.dataset.unused.index, dtype=object))
    return replace(given, dataset=replace(given.dataset, unused=unused))


def moved_folds(given):
    return replace(given, fold=np.where(given.fold < 0, -1, (given.fold + (given.fold == 0)) % 3))


def other_vectors(given):
    X = given.table.X.copy()
    X.iloc[0, 0] += 1
    return replace(given, table=replace(given.table, X=X))


def other_file(given):
    return replace(given, keys=["ab" * 32, *given.keys[1:]])


CHANGES = {
    "a label": (relabelled, {"compare_nearest"}),
    "a column": (with_cell, {"compare_nearest", "_of_files", "_gap"}),
    "the folds": (moved_folds, {"compare_nearest"}),
    "the seed": (lambda given: replace(given, seed=1), set()),
    "an embedding": (other_vectors, {"_told", "_of_files", "_gap"}),
    "the bytes of a picture": (other_file, {"_told", "_of_files", "_gap"}),
    "nothing": (lambda given: given, {"_told", "_of_files", "_gap", "compare_nearest"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_computes_anew_what_depends_on_it_and_says_what_an_audit_alone_says(clean, root, counted, change):
    make, spared = CHANGES[change]
    # The first row may be of the locked split, which nobody learns from.
    clean = replace(clean, fold=np.where(np.arange(len(clean.fold)) == 0, 0, clean.fold))
    audited(clean, Findings(root))
    counted.clear()
    changed = make(clean)
    shared = facts(audited(changed, Findings(root)))
    again = {"_told", "_of_files", "_gap", "compare_nearest"} - set(counted)
    assert again == spared - ({"_gap"} if change == "an embedding" else set())
    assert shared == facts(audited(changed))


def test_files_written_anew_are_read_anew(clean_folder, tmp_path, root, counted):
    given = planted(LEAKS["file size"], clean_folder(0), tmp_path / "leak", 0)
    audited(given, Findings(root))
    path = given.dataset.rows["path"][np.flatnonzero(given.fold >= 0)[0]]
    with open(path, "ab") as file:
        file.write(b"more")
    audited(given, Findings(root))
    assert counted["_of_files"] == 2


@pytest.mark.parametrize("damage", [b"{", b"", None])
def test_damaged_or_older_parts_are_told_and_computed_anew(clean, root, monkeypatch, damage, counted):
    alone, told = facts(audited(clean, Findings(root))), []
    if damage is None:
        monkeypatch.setattr("dermfuse.pipelines.audit.memo.code_version", lambda: "another")
    for path in (root / AUDITS).iterdir() if damage is not None else ():
        path.write_bytes(damage)
    assert facts(audited(clean, Findings(root, told.append))) == alone
    assert len(told) == len(PARTS) and all("is computed anew" in line for line in told)
    assert set(counted.values()) == {2}
    told.clear()
    assert facts(audited(clean, Findings(root, told.append))) == alone
    assert told == [] and set(counted.values()) == {2}


def test_a_cache_that_cannot_be_written_to_is_told_and_the_audit_goes_on(clean, root):
    (root / AUDITS).write_text("a file where a folder should be")
    told = []
    assert facts(audited(clean, Findings(root, told.append))) == facts(audited(clean))
    assert ["is not kept for the next one" in line for line in told] == [True]


def test_digests_tell_values_types_and_shapes_apart_and_not_the_order_in_memory_of_rows():
    values = [
        np.arange(6.0),
        np.arange(6.0).reshape(2, 3),
        np.arange(6.0).reshape(3, 2),
        np.arange(6, dtype=np.float32),
        np.arange(6),
        np.array(["1", "2"]),
        np.array([1, 2], object),
        np.array([None, np.nan], object),
        np.array([np.nan, np.nan], object),
        np.zeros(0),
        np.array(["caf\udce9", "a\x00b"]),
        ["a", "b"],
        "a",
        1,
        True,
        None,
    ]
    digests = [digest_of(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digests == [digest_of(value) for value in values]


def test_audits_over_one_store_share_in_memory_where_the_cache_keeps_nothing(clean, tmp_path, counted):
    store = Store(tmp_path / "none")
    for opened in (store, store, Store(tmp_path / "none")):
        audited(clean, findings_of(opened, print))
    assert set(counted.values()) == {2}
    assert not (tmp_path / "none").exists()


def test_a_second_fit_and_the_arms_of_an_ablation_search_once(demo, tmp_path, counted):
    options = FitOptions("logreg", folds=FOLDS, jobs=1, features=["toy"], explain=False, seed=5)  # no other test
    console = Console(quiet=True)
    folder = ablate(demo.dataset, demo.store, options, tmp_path, "arms", console, ["logreg"])
    assert counted["compare_nearest"] == counted["_told"] == counted["_of_files"] == 1
    first = read_json(folder / "logreg-both", "audit.json")
    counted.clear()
    again = Store(demo.store.root)  # what another process opens
    path = demo.fit("audited-again", again, features=["toy"], explain=False, seed=5)
    assert counted == {}
    assert read_json(path, "audit.json") == first
    states = [read_json(folder / f"logreg-{arm}", "audit.json")["checks"] for arm in ("images", "metadata")]
    told = [{check["code"]: check["detail"] for check in checks}["OPTIMISM_GAP"] for checks in states]
    assert "on embeddings:" in told[0] and "on metadata:" in told[1]
