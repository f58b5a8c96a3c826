"""From a run folder to one dict of facts, which the templates render and do not add to."""

from __future__ import annotations

from dermfuse.reports import wording
from dermfuse.reports.runfolder import SPLIT_ROWS, SPLITS, RunFolder
from dermfuse.reports.sections.audit import audit_facts
from dermfuse.reports.sections.autoencoder import autoencoder_facts
from dermfuse.reports.sections.baselines import baselines
from dermfuse.reports.sections.calibration import calibration_facts
from dermfuse.reports.sections.classes import class_facts
from dermfuse.reports.sections.curves import curve_facts
from dermfuse.reports.sections.data import data_facts
from dermfuse.reports.sections.decision import decision_facts
from dermfuse.reports.sections.environment import environment_facts
from dermfuse.reports.sections.headlines import headline_facts
from dermfuse.reports.sections.importance import importance_facts
from dermfuse.reports.sections.method import method_facts
from dermfuse.reports.sections.metrics import metric_facts
from dermfuse.reports.sections.missing import missing_facts
from dermfuse.reports.sections.prediction_sets import set_facts
from dermfuse.reports.sections.run import what_was_run
from dermfuse.reports.sections.subgroups import subgroup_facts

# In reading order: the name of a section's template and facts, its title among the contents, and what finds its facts.
SECTIONS = (
    ("headlines", "Headline figures", headline_facts),
    ("audit", "Leakage audit", audit_facts),
    ("run", "What was run", what_was_run),
    ("data", "Data flow", data_facts),
    ("metrics", "Metrics", metric_facts),
    ("classes", "By class", class_facts),
    ("curves", "Curves", curve_facts),
    ("calibration", "Calibration", calibration_facts),
    ("decision", "Decision curve", decision_facts),
    ("prediction_sets", "Prediction sets", set_facts),
    ("missing", "Missing fields", missing_facts),
    ("subgroups", "Subgroups", subgroup_facts),
    ("importance", "What the model used", importance_facts),
    ("autoencoder", "Autoencoder", autoencoder_facts),
    ("method", "How the numbers are made", method_facts),
    ("environment", "Environment", environment_facts),
)


def facts(run: RunFolder) -> dict:
    """Collect everything that the page shows.

    Returns
    -------
    dict
        ``page``, and one entry a section of ``SECTIONS``. Numbers stay numbers; a value that is not defined is None.
    """
    return {"page": _page(run), **{name: facts_of(run) for name, _, facts_of in SECTIONS}}


def _page(run: RunFolder) -> dict:
    config = run.config
    verdicts, answers = [], []
    for split, subject in zip(SPLITS, (config["model"], "it"), strict=True):
        metrics, baseline = run.metrics[split], run.metrics["majority"][split]
        scope, rare = _scope(run, split), baselines(run, split).get("average_precision")
        answers.append(
            wording.answer(split, scope, subject, metrics, baseline, config["majority_class"], rare, run.positive)
        )
        metric, rival, floor = wording.rival(metrics, baseline)
        verdicts.append(wording.verdict(metrics[metric], floor))
    return {
        "name": config["name"],
        "dataset": config["dataset"]["name"],
        "synthetic": config["dataset"]["synthetic"],
        "created": wording.moment(config["created"]),
        "majority": config["majority_class"],
        "positive": run.positive,
        "answers": answers,
        "rival": rival,
        "not_beaten": [
            wording.SPLIT_PLACES[split]
            for split, word in zip(SPLITS, verdicts, strict=True)
            if word in ("ties", "loses")
        ],
        "sections": [(name, title) for name, title, _ in SECTIONS],
    }


def _scope(run: RunFolder, split: str) -> str:
    row = next(row for row in run.data["splits"] if row["split"] == SPLIT_ROWS[split])
    groups = run.data["groups"]
    whole = " that no fold cuts" if split == "out_of_fold" else ""
    return f"{row['images']:,} images" + (f" of {row['groups']:,} {groups}{whole}" if groups else "")
