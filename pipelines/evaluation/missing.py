"""What an answer is worth when metadata fields are missing: every pattern scored on the run's own rows."""

from __future__ import annotations

import itertools

import numpy as np

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.evaluation.answers import Answers
from dermfuse.pipelines.evaluation.sets import prediction_sets
from dermfuse.pipelines.model.fieldwise import NONE, PARTLY
from dermfuse.pipelines.runs.schema import SCHEMA
from dermfuse.pipelines.statistics import metrics

FILE = "missing_fields.json"
# So many fields have no more than 16 patterns, all of which are measured; of more, each field alone and all together.
MOST_FIELDS = 4
METRICS = ("accuracy", "balanced_accuracy", "macro_auc", "auc", "log_loss", "ece")


def patterns(fields: list[str]) -> list[tuple[str, ...]]:
    """Fields that may be missing together, the fewest first, beginning with none."""
    if len(fields) > MOST_FIELDS:
        return [(), *((name,) for name in fields), tuple(fields)]
    return [some for many in range(len(fields) + 1) for some in itertools.combinations(fields, many)]


def missing_fields(
    answers: Answers,
    truth: np.ndarray,
    groups: np.ndarray,
    classes: list[str],
    seed: int,
    positive: int = 1,
    advance=lambda n=1: None,
) -> dict:
    """Score the rows anew for every pattern of missing fields.

    Parameters
    ----------
    answers : Answers
    truth : ndarray of int, shape (n,)
        Column of the true class.
    groups : ndarray, shape (n,)
    classes : list of str
        Names of the columns.
    seed : int
    positive : int
        Of two classes, the column that ``auc`` is about.
    advance : callable
        Called after each pattern.

    Returns
    -------
    dict
        The content of ``missing_fields.json``: ``fields`` and ``patterns``, each with ``missing`` (the fields that
        were taken from all rows), ``answered_by``, ``out_of_fold`` and ``test`` (each metric with its interval,
        ``coverage`` and ``mean_size`` of the prediction sets) and ``thresholds`` of these sets by class, None where
        there are no sets.
    """
    fields = list(answers.metadata.columns)
    out = {"schema": SCHEMA, "fields": fields, "patterns": []}
    for missing in patterns(fields):
        probabilities = answers.scored(missing).calibrated
        sets = prediction_sets(truth, probabilities, answers.fold, groups, classes, seed)
        entry = {"missing": list(missing), "answered_by": NONE if len(missing) == len(fields) else PARTLY}
        if not missing:
            entry["answered_by"] = "what each row has"
        for split, rows in (("out_of_fold", answers.fold >= 0), ("test", answers.fold < 0)):
            found = metrics.summarise(truth[rows], probabilities[rows], groups[rows], seed, positive)
            entry[split] = {name: found[name] for name in METRICS if name in found}
            if sets["reason"] is None:
                entry[split] |= {name: sets[split][name] for name in ("coverage", "mean_size")}
        entry["thresholds"] = None if sets["reason"] else {row["class"]: row["threshold"] for row in sets["by_class"]}
        out["patterns"].append(entry)
        advance()
    return out


class Thresholds:
    """Thresholds of a run's prediction sets, for every pattern of missing fields.

    Parameters
    ----------
    content : dict
        Of ``missing_fields.json``.
    classes : list of str
        The order of the thresholds.

    Raises
    ------
    UserError
        It lacks a class.
    """

    def __init__(self, content: dict, classes: list[str]):
        try:
            self._of = {
                frozenset(entry["missing"]): np.array([float(entry["thresholds"][name]) for name in classes])
                for entry in content["patterns"]
                if entry["thresholds"] is not None
            }
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{FILE} lacks the threshold of a class ({error}). Run 'python cli.py fit' again."
            ) from None

    def of(self, missing: list[str]) -> np.ndarray | None:
        """Thresholds, (classes,); None where the run has no sets.

        A pattern that was not measured is given the least threshold of each class: its sets are rather too large.
        """
        if not self._of:
            return None
        found = self._of.get(frozenset(missing))
        return np.min(list(self._of.values()), axis=0) if found is None else found
