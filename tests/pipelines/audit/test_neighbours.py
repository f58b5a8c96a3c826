"""Neighbours across groups: exact in tiles, and above a size in cells whose recall is measured, told and as wanted."""

from __future__ import annotations

import numpy as np
import pytest

from dermfuse.pipelines.audit import near
from dermfuse.pipelines.audit import neighbours as room
from dermfuse.pipelines.audit.near import check_near
from dermfuse.pipelines.audit.neighbours import RECALL, neighbours


def similarities(matrix: np.ndarray, groups: np.ndarray) -> np.ndarray:
    rows = (matrix - matrix.mean(0)) / np.where(matrix.std(0) > 0, matrix.std(0), 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(groups[:, None] == groups[None], -np.inf, rows @ rows.T)


def clustered(seed: int, n: int = 3000, width: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Rows around 40 centres of unequal spread, in groups of unequal size."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 40, n)
    spread = rng.uniform(0.2, 1.5, 40)[centre][:, None]
    matrix = rng.normal(size=(40, width))[centre] + spread * rng.normal(size=(n, width))
    groups = np.where(rng.random(n) < 0.1, 0, rng.integers(1, n // 2, n))
    return matrix.astype(np.float32), groups.astype(str)


@pytest.mark.parametrize("tile", [7, 64, 2048])
def test_neighbours_are_those_of_the_whole_matrix_of_similarities(tile, monkeypatch):
    monkeypatch.setattr(room, "TILE", tile)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(50, 6)).astype(np.float32)
    matrix[:, 5] = 3.0
    groups = rng.integers(0, 20, 50).astype(str)
    found, similarity = neighbours(matrix, groups), similarities(matrix, groups)
    assert found.nearest.tolist() == similarity.argmax(1).tolist()
    ordered = np.sort(similarity, axis=1)
    assert found.first == pytest.approx(ordered[:, -1], abs=1e-5)
    assert found.second == pytest.approx(ordered[:, -2], abs=1e-5)
    assert (found.recall, found.words()) == (None, "")


@pytest.mark.parametrize("seed", range(4))
def test_cells_find_what_they_say_they_find(seed):
    matrix, groups = clustered(seed)
    exact, found = neighbours(matrix, groups), neighbours(matrix, groups, seed, exact_rows=100)
    assert (groups[found.nearest] != groups).all()
    assert (found.first <= exact.first + 1e-5).all() and (found.second <= exact.second + 1e-5).all()
    recall = np.mean(found.first >= exact.first - 1e-5)
    assert recall >= RECALL - 0.02
    # Of 1,000 rows: the measured share lies within three standard errors of that of all rows.
    assert found.recall == pytest.approx(recall, abs=3 * np.sqrt(recall * (1 - recall) / found.measured_on) + 1e-3)
    assert found.measured_on == room.SAMPLE
    assert "the search was approximate" in found.words() and "1,000 rows" in found.words()


def test_cells_are_the_same_for_a_seed_and_leave_the_matrix_as_it_was():
    matrix, groups = clustered(0)
    before = matrix.copy()
    one, other = (neighbours(matrix, groups, 3, exact_rows=100) for _ in range(2))
    assert one.nearest.tolist() == other.nearest.tolist() and one.recall == other.recall
    assert (matrix == before).all()


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_a_group_that_fills_whole_cells_hides_no_neighbour(share):
    matrix, _ = clustered(1, 1500)
    rng = np.random.default_rng(0)
    groups = np.where(rng.random(1500) < share, 0, np.arange(1, 1501)).astype(str)
    exact, found = neighbours(matrix, groups), neighbours(matrix, groups, exact_rows=100)
    assert ((found.nearest < 0) == (exact.nearest < 0)).all()
    assert np.mean(found.first >= exact.first - 1e-5) >= RECALL - 0.03


def test_planted_copies_are_found_in_cells():
    matrix, _ = clustered(2, 4000)
    rng = np.random.default_rng(0)
    chosen = rng.choice(4000, (50, 2), replace=False)
    matrix[chosen[:, 1]] = matrix[chosen[:, 0]] + 0.05 * rng.normal(size=(50, 24))
    found = neighbours(matrix, np.arange(4000).astype(str), exact_rows=100)
    assert (found.nearest[chosen[:, 0]] == chosen[:, 1]).all() and (found.nearest[chosen[:, 1]] == chosen[:, 0]).all()


def test_an_approximate_search_is_told_in_the_check(clean, monkeypatch):
    monkeypatch.setattr(room, "EXACT_ROWS", 50)
    monkeypatch.setattr(room, "SAMPLE", 20)
    check, _ = check_near(clean)
    assert check.state == "passed"
    assert "of 20 rows drawn by seed found the neighbour that an exact search finds" in check.sentence


def test_a_search_in_cells_finds_the_copy_that_was_planted_in_the_pictures(clean_folder, tmp_path, monkeypatch):
    from tests.pipelines.audit.planting import LEAKS, checked, planted

    monkeypatch.setattr(room, "EXACT_ROWS", 50)
    leak = LEAKS["re-encoded copy across splits"]
    check = checked(planted(leak, clean_folder(1), tmp_path / "leak", 1), near.NEAR.code)
    assert (check.state, check.severity) == ("found", "error")
    assert "the search was approximate" in check.sentence
