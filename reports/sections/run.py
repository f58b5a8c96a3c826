"""The facts of what was run: model, inputs, settings, image blocks, and the commands that repeat it."""

from __future__ import annotations

import shlex

from dermfuse.reports.runfolder import RunFolder
from dermfuse.reports.sections.method import balance_words, learned_words, selection_words


def what_was_run(run: RunFolder) -> dict:
    """Return the choices of ``config.json`` in words, ``tuning``, ``commands`` and ``blocks``."""
    config = run.config
    dataset = config["dataset"]
    return {
        **{key: config[key] for key in ("features", "use_metadata", "folds", "repeats", "test_fraction", "seed")},
        **{key: dataset[key] for key in ("metadata", "label_column", "group_column", "leak_columns", "preset")},
        "model": f"{config['model_title']} ({config['model']})",
        "parameters": sorted(config["model_parameters"].items()),
        "balance": balance_words(config),
        "selection": selection_words(config),
        "tuning": _tuning(config["tuning"]),
        "own_test_split": dataset["own_test_split"],
        "commands": _commands(config),
        "own_weights": any("WEIGHTS" in words for words in config["commands"]),
        "blocks": [_block(block) for block in config["blocks"]],
    }


def _tuning(tuning: dict | None) -> dict | None:
    """Return what the search for settings chose in each fit, the parameters by their last names."""
    if tuning is None:
        return None
    rows = [
        {**row, "parameters": [(_short(name), f"{value:.3g}") for name, value in sorted(row["parameters"].items())]}
        for row in tuning["chosen"]
    ]
    return {**tuning, "chosen": rows}


def _short(parameter: str) -> str:
    """Return a pipeline's parameter without the steps before it; components keep their block."""
    *steps, name = parameter.split("__")
    return f"components of {steps[1]}" if name == "n_components" else name


def _commands(config: dict) -> list[str]:
    """Return the commands that repeat the run on one's own copy of the data."""
    return [
        shlex.join([*words, *(["--name", config["name"]] if words[2] == "fit" else [])]) for words in config["commands"]
    ]


def _block(block: dict) -> dict:
    return {
        **{key: block[key] for key in ("name", "key", "width", "runtimes")},
        "learned": learned_words(block),
        "recipe": list(_flat(block["recipe"])),
    }


def _flat(tree: dict, prefix: str = ""):
    """Yield (name, text) for the leaves of a recipe, the names worded."""
    for key, value in tree.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}, ")
        else:
            yield name, _leaf(value)


def _leaf(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ({}, []):
        return "none"
    return ", ".join(_leaf(item) for item in value) if isinstance(value, list) else str(value)
