"""Sentences on how the numbers were made and what they cannot say, each only where the facts bear it."""

from __future__ import annotations

from collections import Counter

from dermfuse.reports.runfolder import RunFolder
from dermfuse.reports.sections.rechecks import recheck
from dermfuse.reports.wording import count, listed, percent, plural

FEW_TEST_IMAGES = 30
MOST_NAMES = 8


def method_facts(run: RunFolder) -> dict:
    """Return ``steps`` (title, sentences), ``limits`` (sentences) and ``checks`` of the run."""
    checks = recheck(run)
    return {
        "steps": [
            ("Locked test split", _test_split(run)),
            ("Out of fold", _out_of_fold(run)),
            ("What learned where", _learning(run)),
            ("Calibration", _calibration(run)),
            *([("Missing metadata", _missing(run))] if run.config["use_metadata"] else []),
            ("Prediction sets", _sets(run)),
            ("Intervals", _intervals(run)),
            ("Importance", _importance()),
        ],
        "limits": _limits(run),
        "checks": checks,
        "failed": sum(check.state == "failed" for check in checks),
    }


def balance_words(config: dict) -> str:
    """Say what was done about rare classes."""
    if config["balance"] == "smote":
        neighbors = config["smote_neighbors"]
        detail = f" ({plural(neighbors, 'neighbour')})" if neighbors is not None else ""
        return f"SMOTE{detail}: synthetic rows of rare classes, made from the training rows of each fold only"
    if config["balance"] == "weights":
        return "class weights: rare classes count more in training; no row is added"
    return "none: classes as frequent as they are"


def selection_words(config: dict) -> str:
    """Say which metadata columns the model saw."""
    if not config["use_metadata"]:
        return "no metadata was used"
    if config["select_k"] is None:
        return "metadata columns with p below 0.05 in the ANOVA F test, chosen anew in each fold"
    columns = plural(config["select_k"], "metadata column")
    return f"at most {columns}, those with the largest ANOVA F, chosen anew in each fold"


def learned_words(block: dict) -> str:
    """Say what an image block learned from this dataset."""
    learned = block["learned_from"]
    if learned is None:
        return "Frozen: it learned nothing from this dataset."
    rows = count(learned["rows"])
    if learned["labels"]:
        return (
            f"It learned from {rows} rows of this dataset with their labels, never from locked test rows. "
            "Out of fold, rows it learned from would look too good; fitting refuses to score them."
        )
    return (
        f"It learned from the pixels of {rows} training rows, without labels. These are rows that are scored "
        "out of fold: the block saw their pixels, but never a locked test row."
    )


def openings_words(run: RunFolder) -> str:
    """Say how often the locked rows had been opened when the run was written, and by which runs."""
    names = run.data["openings"]
    if len(names) == 1:
        return "This run is the first in its folder of runs to open it."
    times = Counter(names)
    said = [f"{name} ({n} times)" if n > 1 else name for name, n in times.items()]
    more = [f"{len(said) - MOST_NAMES} more"] if len(said) > MOST_NAMES else []
    return (
        f"These locked rows have been opened {count(len(names))} times for this data and seed: by "
        f"{listed([*said[:MOST_NAMES], *more])}. The best of several test numbers is too good; choose among models by "
        "out-of-fold numbers."
    )


def _test_split(run: RunFolder) -> str:
    groups, column = run.data["groups"], run.config["dataset"]["group_column"]
    if run.config["dataset"]["own_test_split"]:
        whole = f" Whole {groups or 'groups'} of it (column {column}) were locked away." if column is not None else ""
        return (
            "The dataset brings its own test split." + whole + " Selection, fitting and tuning of this run never saw "
            "it; the final model, fitted on all training rows, answers it. " + openings_words(run)
        )
    text = f"About {percent(run.config['test_fraction'], 0)} of the images were set aside"
    if column is not None:
        text += f", whole {groups or 'groups'} at a time (column {column}) and with the classes in proportion"
    else:
        text += ", with the classes in proportion"
    text += (
        ". Selection, fitting and tuning of this run never saw it; the final model, fitted on all training rows, "
        "answers it. " + openings_words(run)
    )
    if column is None:
        text += (
            " The table names no group, so images of one lesion or patient may stand on both sides; "
            "the numbers may then be too good."
        )
    return text


def _out_of_fold(run: RunFolder) -> str:
    kept = " that keep groups whole" if run.config["dataset"]["group_column"] is not None else ""
    return (
        f"The training rows are cut into {run.config['folds']} stratified folds{kept}. Each fold is "
        "answered by a model fitted on the others, so no prediction comes from a model that was fitted "
        "on its image."
    )


def _learning(run: RunFolder) -> str:
    parts = ["Scaling, principal components, block weights and imputation"]
    if run.config["use_metadata"]:
        parts.append("the ANOVA selection")
    if run.config["balance"] == "smote":
        parts.append("SMOTE")
    text = f"{listed(parts)} are fitted inside each fold, on its training rows only."
    frozen = [block["name"] for block in run.config["blocks"] if block["learned_from"] is None]
    if frozen:
        verb = "is" if len(frozen) == 1 else "are"
        text += f" {listed(frozen)} {verb} frozen and learned nothing from this dataset."
    for block in run.config["blocks"]:
        if block["learned_from"] is not None:
            text += f" {block['name']}: {learned_words(block)}"
    return text


_CALIBRATORS = {
    "temperature": "Temperature scaling (one slope, Guo et al. 2017)",
    "bias_corrected": "Bias-corrected temperature scaling (one slope and one bias a class, Alexandari et al. 2020)",
    "isotonic": "Isotonic regression (one rising step function a class, Zadrozny and Elkan 2002)",
    "dirichlet": "Dirichlet calibration (one weight for every pair of classes, Kull et al. 2019)",
}


def _calibration(run: RunFolder) -> str:
    before = run.metrics["uncalibrated"]["out_of_fold"]["log_loss"]
    after = run.metrics["out_of_fold"]["log_loss"]["value"]
    used = run.metrics["calibration"]["used"]
    if used == "none":
        return "None: the probabilities are those that the classifier gives."
    text = f"{_CALIBRATORS.get(used, used)} turns the classifier's scores into probabilities"
    if run.config["balance"] != "none" and used != "temperature":
        text += "; it also puts back the real class frequencies that balancing had hidden"
    text += ". It learned from out-of-fold predictions: those of the other folds for a fold's own, all of them for "
    text += "the locked test split."
    if before is not None and after is not None:
        text += f" Log loss out of fold: {before:.3f} before, {after:.3f} after."
    return text


def _missing(run: RunFolder) -> str:
    alone = "the same classifier fitted without metadata" if run.config["blocks"] else "the class frequencies"
    return (
        f"Rows without any field are answered by {alone}; rows with some by a logistic regression on its out-of-fold "
        "probabilities and the known fields, which learned from copies of every row with fields blanked at random, in "
        "each fold from the other folds. Only rows with every field are answered by the model of both."
    )


def _sets(run: RunFolder) -> str:
    stated = percent(run.prediction_sets["coverage"], 0)
    if run.prediction_sets["reason"] is not None:
        return f"No sets were made at {stated} coverage: {run.prediction_sets['reason']}."
    return (
        "The threshold of a class is a quantile of the out-of-fold probabilities that its own images received, one "
        f"image a group, drawn by seed: {stated} of new groups like these should reach it. Sets of a fold take their "
        "thresholds from the other folds, those of the locked test split and of new images from all folds. "
        "Out-of-fold probabilities stand in for the final model's, so the coverage is measured here, not only promised."
    )


def _subgroup_limit(run: RunFolder) -> str:
    columns = [entry["column"] for entry in run.subgroups["out_of_fold"]]
    if not columns:
        return "Results are not broken down by subgroup; a model may serve groups of people unequally."
    return (
        f"Results are broken down by {listed(columns)}, one at a time and not in combination; what the table does not "
        "record, such as skin tone, may divide people unseen."
    )


def _intervals(run: RunFolder) -> str:
    return (
        f"{run.metrics['intervals'].rstrip('.')}. They say how much the numbers would move with "
        "other images of the same kind. They do not cover another fit, another clinic or another camera."
    )


def _importance() -> str:
    return (
        "Permutation importance is the macro AUC lost on the locked test split when one metadata field, "
        "or one whole image block, is shuffled. SHAP values are sums over a field or block. Both say what "
        "this model used, not what causes disease; where two inputs tell the same, they share the credit."
    )


def _limits(run: RunFolder) -> list[str]:
    limits = []
    if run.config["dataset"]["synthetic"]:
        limits.append("The images are drawn by a program. Nothing on this page says anything about skin.")
    rare = [
        f"{entry['class']} ({entry['n']})" for entry in run.metrics["per_class"]["test"] if entry["n"] < FEW_TEST_IMAGES
    ]
    if rare:
        limits.append(
            f"Fewer than {FEW_TEST_IMAGES} locked test images of {listed(rare)}: "
            "a few images more or less would move their test numbers far."
        )
    limits.append("One dataset, split at random: no external validation, no other clinic, camera or year.")
    limits.append(_subgroup_limit(run))
    limits.append(
        "Sensitivity and specificity belong to the decisions of this run; another threshold trades one for the other."
    )
    return limits
