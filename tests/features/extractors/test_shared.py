"""Extractions that share blocks agree on one precision, and each computes only what nobody has."""

from __future__ import annotations

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.embedding import loop as module
from dermfuse.features.embedding.loop import Work, extract
from dermfuse.features.runtimes.choice import Choice, kept_precision
from tests.features.toys import MeanColours, content_of, dataset_of, pictures


class InSomePrecision(MeanColours):
    """Its recipe names the precision of its runtime, as a network's does."""

    def __init__(self, precision: str = "float32"):
        super().__init__()
        self.precision = precision

    def recipe(self) -> dict:
        return {**super().recipe(), "precision": self.precision}


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "data").mkdir()
    return dataset_of(tmp_path / "data", pictures(tmp_path / "data", 6))


@pytest.fixture
def chosen(monkeypatch):
    """What `choose` was asked for: the precision that it had to keep to. Free to choose, it takes bfloat16."""
    asked = []

    def choose(extractor, probe, left, batch, known, precision):
        asked.append((precision, left))
        extractor.precision = precision or "bfloat16"
        return Choice(extractor.name, "here", "n", "toy", extractor.precision, "", batch, len(probe), left)

    def runtime_of(precision, extractor, strict):
        extractor.precision = precision
        return extractor.runtime

    monkeypatch.setattr(module, "choose", choose)
    monkeypatch.setattr(module, "runtime_of", runtime_of)
    return asked


def run(dataset, tmp_path, **work):
    console = Console(quiet=True)
    content = content_of(dataset, console)
    work = Work(workers=0, precision="auto", shared=True, **work)
    return extract(dataset, content, [InSomePrecision()], Store(tmp_path / "cache"), console, work)


def test_the_first_chooses_the_precision_and_the_others_keep_to_it(dataset, tmp_path, chosen):
    for rows in (slice(0, 3), slice(3, 6)):
        part = dataset.keep([rows.start <= row < rows.stop for row in range(6)])
        assert [block.computed for block in run(part, tmp_path).blocks] == [3]
    assert [precision for precision, _ in chosen] == [None, "bfloat16"]
    [block] = Store(tmp_path / "cache").blocks()
    assert block.recipe["precision"] == "bfloat16"
    assert len(block.row_keys) == 6


def test_a_choice_holds_before_the_first_row_is_there(tmp_path):
    store, toy = Store(tmp_path / "cache"), InSomePrecision("bfloat16")
    assert kept_precision(InSomePrecision(), store, []) == (None, 0)
    store.open_block(toy.name, toy.recipe(), toy.width, toy.dtype)
    assert kept_precision(InSomePrecision(), store, ["0" * 64]) == (None, 0)
    assert kept_precision(InSomePrecision(), store, ["0" * 64], begun=True) == ("bfloat16", 0)


def test_a_machine_that_cannot_keep_to_it_is_refused(dataset, tmp_path, chosen, monkeypatch):
    run(dataset.keep([row < 3 for row in range(6)]), tmp_path)
    plain = module.choose
    monkeypatch.setattr(module, "choose", lambda *arguments: plain(*arguments[:5], "float32"))
    with pytest.raises(UserError, match="begun in bfloat16, in which this machine cannot"):
        run(dataset, tmp_path)
    assert len(Store(tmp_path / "cache").blocks()) == 1


def test_what_is_ahead_of_a_process_weighs_in_its_choice(dataset, tmp_path, chosen):
    run(dataset, tmp_path, ahead=1000)
    assert chosen == [(None, 1000)]


def test_rows_that_another_process_wrote_meanwhile_count_as_reused(dataset, tmp_path, monkeypatch):
    store, console = Store(tmp_path / "cache"), Console(quiet=True)
    content = content_of(dataset, console)
    plain = module._run

    def after_another(*arguments):
        monkeypatch.setattr(module, "_run", plain)
        extract(
            dataset.keep([row < 4 for row in range(6)]), content_of_first(dataset, 4), [MeanColours()], store, console
        )
        return plain(*arguments)

    monkeypatch.setattr(module, "_run", after_another)
    work = Work(workers=0, shared=True)
    [block] = extract(dataset, content, [MeanColours()], store, console, work).blocks
    assert (block.computed, block.reused) == (2, 4)


def content_of_first(dataset, count: int):
    return content_of(dataset.keep([row < count for row in range(len(dataset.rows))]), Console(quiet=True))
