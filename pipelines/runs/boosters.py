"""Boosters of xgboost, tried in a process of their own: what is wrong in one would end the process that reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from dermfuse.features.own_modules import modules_from_here

SECONDS = 300
# Libraries, and what a booster's bytes become as text and as Python's objects. A damaged one can ask for all there is.
LEAST_MEMORY, MEMORY_A_BYTE = 1 << 31, 100
_REASON = "booster: "


def check_boosters(boosters: list[bytes]) -> None:
    """Have a process of its own read boosters, look through their trees and predict with them.

    Parameters
    ----------
    boosters : list of bytes
        Each as ``xgboost.Booster.__getstate__`` gives it.

    Raises
    ------
    ValueError
        One of them is damaged, or ended that process.
    """
    given = b"".join(len(one).to_bytes(8, "little") + one for one in boosters)
    command = [sys.executable, "-W", "ignore", "-m", "dermfuse.pipelines.runs.boosters"]
    try:
        with modules_from_here():
            done = subprocess.run(command, input=given, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"its boosted trees were not read in {SECONDS} s") from None
    if done.returncode:
        told = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith(_REASON)]
        raise ValueError(f"its boosted trees cannot be used ({told[-1][len(_REASON) :] if told else 'reading ended'})")


def check_booster(state: bytes) -> None:
    """Read one booster, look through its trees, and predict a row of zeros.

    Raises
    ------
    ValueError
        It is damaged.
    """
    import numpy as np
    import xgboost

    booster = xgboost.Booster()
    booster.__setstate__({"handle": bytearray(state)})
    learner = json.loads(booster.save_raw("json"))["learner"]
    told = learner["learner_model_param"]
    features, classes = int(told["num_feature"]), max(1, int(told["num_class"]))
    model = learner["gradient_booster"]["model"]
    trees, owner = model["trees"], np.asarray(model["tree_info"])
    if learner["gradient_booster"]["name"] != "gbtree" or not trees or features < 1:
        raise ValueError("it holds no trees")
    if owner.shape != (len(trees),) or (owner < 0).any() or (owner >= classes).any():
        raise ValueError(f"its trees are not of its {classes} classes")
    rounds = np.asarray(model["iteration_indptr"])
    if rounds[0] != 0 or rounds[-1] != len(trees) or (np.diff(rounds) < 0).any():
        raise ValueError("its rounds are out of order")
    for number, tree in enumerate(trees):
        fault = fault_in_tree(tree, features)
        if fault:
            raise ValueError(f"tree {number} {fault}")
    answers = booster.predict(xgboost.DMatrix(np.zeros((2, features), np.float32)))
    if not np.isfinite(answers).all():
        raise ValueError("its answers are no numbers")


def fault_in_tree(tree: dict, features: int) -> str | None:
    """What is wrong with a tree as xgboost writes it in JSON, in words; None where nothing is."""
    import numpy as np

    left, right = np.asarray(tree["left_children"]), np.asarray(tree["right_children"])
    split, condition = np.asarray(tree["split_indices"]), np.asarray(tree["split_conditions"], dtype=float)
    if not len(left) == len(right) == len(split) == len(condition) == int(tree["tree_param"]["num_nodes"]) >= 1:
        return "has arrays of different lengths"
    if tree["categories"]:
        return "splits categories, as none of a run does"
    inner = np.flatnonzero(left != -1)
    if (right[left == -1] != -1).any():
        return "has nodes with one child"
    children = np.concatenate([left[inner], right[inner]])
    if (children <= np.tile(inner, 2)).any() or (children >= len(left)).any():
        return "has nodes that lead outside of it, or back"
    if len(np.unique(children)) < len(children):
        return "has nodes that are reached twice"
    if (split[inner] < 0).any() or (split[inner] >= features).any():
        return f"asks for other columns than its {features}"
    return None if np.isfinite(condition).all() else "has thresholds that are no numbers"


def _limit(size: int) -> None:
    """Allow boosters of `size` bytes less memory and time than would disturb the machine; Windows knows no limits."""
    if sys.platform != "win32":
        import resource

        for kind, most in ((resource.RLIMIT_AS, LEAST_MEMORY + MEMORY_A_BYTE * size), (resource.RLIMIT_CPU, SECONDS)):
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Check the boosters on standard input; 0 where all can be used."""
    # xgboost does without, and is imported in a quarter of the time.
    sys.modules["sklearn"] = None
    # Each thread more takes room of its own.
    os.environ["OMP_NUM_THREADS"] = "1"
    given = sys.stdin.buffer.read()
    _limit(len(given))
    place = 0
    while place < len(given):
        size = int.from_bytes(given[place : place + 8], "little")
        try:
            check_booster(given[place + 8 : place + 8 + size])
        except Exception as error:  # of xgboost, JSON or numpy: all say that this booster cannot be used
            reason = str(error).partition("\n")[0] or type(error).__name__
            print(f"{_REASON}{reason}", file=sys.stderr)
            return 1
        place += 8 + size
    return 0


if __name__ == "__main__":
    sys.exit(main())
