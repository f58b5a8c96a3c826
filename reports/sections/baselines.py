"""What the model has to beat: always answering the majority class, or one and the same risk for all."""

from __future__ import annotations

from dermfuse.reports.runfolder import RunFolder
from dermfuse.reports.wording import defined


def baselines(run: RunFolder, split: str) -> dict[str, float]:
    """Return what always answering the majority class gives, where that is a matter of counting.

    A constant answer ranks nobody, so its AUC is 1/2 and its average precision the prevalence; with K classes
    present, the mean of recall is 1/K, and of the F1 scores only one, 2p / (1 + p), is not zero.
    """
    share = run.metrics["majority"][split]
    present = sum(entry["n"] > 0 for entry in run.metrics["per_class"][split])
    if not defined(share) or not present:
        return {}
    f1 = 2 * share / (1 + share)
    return {
        "accuracy": share,
        "balanced_accuracy": 1 / present,
        "macro_f1": f1 / present,
        "weighted_f1": f1 * share,
        "auc": 0.5,
        "macro_auc": 0.5,
        "macro_average_precision": 1 / present,
        **_constant_risk(run, split),
    }


def _constant_risk(run: RunFolder, split: str) -> dict[str, float]:
    """Return what one and the same risk for all gives of two classes; the ROC curve is then its diagonal."""
    if run.positive is None:
        return {}
    prevalence = run.metrics["per_class"][split][run.classes.index(run.positive)]["prevalence"]
    return {"average_precision": prevalence, "sensitivity_at_95_specificity": 0.0, "partial_auc": 0.02}
