"""Every option of a fit and of an extraction is kept, printed to be repeated, and compared when an ablation goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.extractors import learned, registry
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.options.option import NEVER, options_of
from dermfuse.pipelines.runs.run_folder import read_json
from dermfuse.pipelines.workflows import repeat
from dermfuse.pipelines.workflows.ablate import Arm, _check_kept
from dermfuse.pipelines.workflows.inputs import Inputs
from tests.bad_values import another

FIT, EXTRACT = options_of(FitOptions), options_of(Stage1Options)
MATTERS = [name for name, option in FIT.items() if option.told != NEVER]
# Those that the keys of the embeddings tell.
BY_BLOCKS = {name for name, option in FIT.items() if option.kept.startswith("blocks")}


@pytest.fixture(scope="module")
def kept(demo) -> tuple[Path, FitOptions]:
    """A run with options that are not the defaults."""
    given = {"balance": "none", "calibration": "isotonic", "select_k": 2, "folds": 2, "repeats": 2, "tune": 1}
    options = FitOptions("logreg", ["toy"], seed=3, jobs=1, explain=False, **given)
    return demo.fit("kept", **vars(options)), options


@pytest.fixture
def same_data(kept, demo) -> Inputs:
    """What an ablation asks of the data that it goes on with."""
    fingerprint = read_json(kept[0], "config.json")["dataset"]["fingerprint"]
    dataset = SimpleNamespace(fingerprint=lambda: fingerprint, layout=demo.dataset.layout)
    return Inputs(dataset, None, None, demo.store.blocks("toy"))


def leads_somewhere(document: object, path: str) -> bool:
    """Whether a dotted path ends in an entry; of a list, in one of its items."""
    if isinstance(document, list):
        return any(leads_somewhere(item, path) for item in document)
    first, _, rest = path.partition(".")
    return first in document and (not rest or leads_somewhere(document[first], rest))


@pytest.mark.parametrize("name", MATTERS)
def test_an_option_of_a_fit_is_in_config_json(kept, name):
    folder, options = kept
    config = read_json(folder, "config.json")
    # A block that was filled by hand has no views and levels.
    config["blocks"][0]["recipe"] |= {"views": 1, "levels": "last"}
    assert leads_somewhere(config, FIT[name].kept or name)
    if name not in BY_BLOCKS:
        assert FIT[name].kept_in(config) == getattr(options, name)


@pytest.mark.parametrize("name", MATTERS)
def test_an_option_of_a_fit_is_compared_when_an_ablation_goes_on(kept, same_data, name):
    folder, options = kept
    _check_kept(folder, Arm("kept", options), same_data)
    usual = getattr(options, name) == FIT[name].default or name == "features"
    changed = replace(options, **{name: another(FIT[name]) if usual else FIT[name].default})
    said = "embeddings" if name in BY_BLOCKS else f"--{name.replace('_', '-')}"
    if name in ("views", "levels"):  # other ones make other blocks
        changed, same_data = options, replace(same_data, blocks=[SimpleNamespace(name="toy", key="f" * 64)])
    with pytest.raises(UserError, match=rf"fitted before with other choices \({said}\)"):
        _check_kept(folder, Arm("kept", changed), same_data)


def test_an_option_of_no_effect_is_not_compared(kept, same_data):
    folder, options = kept
    free = {name: another(option) for name, option in FIT.items() if option.told == NEVER}
    assert free
    _check_kept(folder, Arm("kept", replace(options, **free)), same_data)


def test_every_option_of_a_fit_is_printed_or_declared_to_change_nothing():
    given = {name: another(option) for name, option in FIT.items()}
    told = repeat.flags_of(FitOptions, given)
    assert set(told) == {FIT[name].key for name in MATTERS}
    assert all(told.values()), "a flag that turns something off is given"
    usual = repeat.flags_of(FitOptions, vars(FitOptions()))
    assert set(usual) == {"model", "features", "balance", "seed"}


def test_every_option_of_an_extraction_is_printed_or_declared_to_change_nothing(monkeypatch, tmp_path):
    """From the recipes of the blocks, where each has its place."""
    recipe = {"views": 2, "levels": "multi", "dtype": "float32", "precision": "bfloat16", "weights": "0" * 64}
    network = SimpleNamespace(name="resnet18", recipe={**recipe, "extractor": "backbone"})
    trained = SimpleNamespace(name="cae", recipe={**recipe, "extractor": "autoencoder"})
    monkeypatch.setattr(registry, "kept_weights", lambda *told: tmp_path)
    monkeypatch.setattr(learned, "learning_record", lambda *told: {"config": {"seed": 5}})
    dataset = SimpleNamespace(folder=tmp_path, flags={})
    lines = repeat.commands(dataset, [network, trained], FitOptions(), None)
    printed = {word for line in lines if "extract" in line for word in line if word.startswith("--")}
    matters = {name: option for name, option in EXTRACT.items() if option.told != NEVER}
    assert printed == {"--data", *(option.flag for option in matters.values())}
    # The recipes lie in config.json, under blocks; they tell weights by a hash, and a seed by what was learned with it.
    assert set(matters) - set(recipe) == {"features", "weights_dir", "seed"}
