"""How numbers and facts are worded on the page: filters for the templates, names, and the answer."""

from __future__ import annotations

import math
from datetime import datetime

from dermfuse.pipelines.statistics.paired import LOWER_IS_BETTER

DASH = "–"

METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "auc": "AUC",
    "average_precision": "Average precision",
    "macro_auc": "Macro AUC",
    "macro_average_precision": "Macro average precision",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "ece_positive": "Calibration error of the positive class",
    "sensitivity_at_95_specificity": "Sensitivity at 95 % specificity",
    "partial_auc": "Partial AUC above 80 % sensitivity",
}
OF_POSITIVE = {"auc", "average_precision", "sensitivity_at_95_specificity", "partial_auc", "ece_positive"}
# As a title, and as a place within a sentence.
SPLIT_NAMES = {"out_of_fold": "Out of fold", "test": "Locked test"}
SPLIT_PLACES = {"out_of_fold": "out of fold", "test": "on the locked test split"}


def defined(value: object) -> bool:
    """Tell whether `value` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float | None, digits: int = 3) -> str:
    """Format with a fixed number of decimals; a dash where the value is not defined."""
    if not defined(value):
        return DASH
    text = f"{value:.{digits}f}"
    # A rounded zero has no sign, and a minus is not a hyphen.
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """Format a change with its sign; a dash where it is not defined.

    Examples
    --------
    >>> signed(0.0123), signed(-0.0123), signed(-0.0001)
    ('+0.012', '−0.012', '0.000')
    """
    text = number(value, digits)
    return f"+{text}" if defined(value) and round(value, digits) > 0 else text


def count(value: float | None) -> str:
    """Format a count with thousands separated by commas."""
    return f"{value:,.0f}" if defined(value) else DASH


def percent(value: float | None, digits: int = 1) -> str:
    """Format a share as per cent."""
    return f"{100 * value:.{digits}f} %" if defined(value) else DASH


def interval(entry: dict, digits: int = 3) -> str:
    """Word the interval of a metric as "low to high"."""
    if not defined(entry["low"]) or not defined(entry["high"]):
        return "no interval"
    return f"{number(entry['low'], digits)} to {number(entry['high'], digits)}"


def p_value(value: float | None) -> str:
    """Format a p value; the very small ones as a power of ten."""
    if not defined(value):
        return DASH
    if value >= 0.001:
        return f"{value:.3f}"
    if value < 1e-300:
        return "< 10⁻³⁰⁰"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def duration(seconds: float | None) -> str:
    """Word a duration in the two units that matter."""
    if not defined(seconds):
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def position(value: float, scale: tuple[float, float]) -> str:
    """Place `value` on `scale` as per cent of its length, kept inside."""
    low, high = scale
    share = (value - low) / (high - low) if high > low else 0.0
    return f"{100 * min(max(share, 0.0), 1.0):.2f}"


def moment(text: str) -> str:
    """Word an ISO time stamp; a text that is none is returned as it is."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = f" {when.tzname()}" if when.tzinfo else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def metric_name(metric: str, positive: str | None = None) -> str:
    """Return the words for a metric; an unknown one keeps its name, without underscores.

    Parameters
    ----------
    metric : str
    positive : str, optional
        Of two classes, the one that a metric of one class is of; it is then named.

    Examples
    --------
    >>> metric_name("auc", "melanoma"), metric_name("accuracy", "melanoma"), metric_name("auc")
    ('AUC of melanoma', 'Accuracy', 'AUC')
    """
    name = METRICS.get(metric, metric.replace("_", " "))
    if positive is None or metric not in OF_POSITIVE:
        return name
    return f"{name.removesuffix(' of the positive class')} of {positive}"


def lower_is_better(metric: str) -> str | None:
    """Return the remark on a metric of which less is better."""
    return "lower is better" if metric in LOWER_IS_BETTER else None


def upper_first(text: str) -> str:
    """Begin a sentence or a title with `text`; the rest keeps its letters."""
    return f"{text[:1].upper()}{text[1:]}"


def listed(names: list[str], last: str = "and") -> str:
    """Join names as in a sentence."""
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def plural(n: int, word: str) -> str:
    """Return a count with its noun, which takes a regular plural."""
    return f"{count(n)} {word if n == 1 else word + 's'}"


def verdict(entry: dict, baseline: float) -> str:
    """Compare a metric with its baseline: ``beats``, ``ties``, ``loses`` or ``unknown``.

    Only an interval that lies wholly on one side decides; one that holds the baseline is a tie.
    """
    if not all(defined(value) for value in (entry["low"], entry["high"], baseline)):
        return "unknown"
    if entry["low"] > baseline:
        return "beats"
    return "loses" if entry["high"] < baseline else "ties"


_VERDICTS = {
    "beats": "",
    "ties": "the interval includes this baseline, so it does not beat {rival}",
    "loses": "the interval lies below this baseline, so it does not beat {rival}",
    "unknown": "without an interval it cannot be said to beat {rival}",
}
GUESSING, MAJORITY = "guessing", "the majority class"


def rival(metrics: dict, majority_share: float) -> tuple[str, str, float]:
    """What a model has to beat, as (metric, rival, baseline).

    Of two classes, where one is often rare, that is guessing, by AUC: few would call the rare class at all by the most
    probable class. Of more classes it is always answering the most frequent one, by accuracy.
    """
    return ("auc", GUESSING, 0.5) if "auc" in metrics else ("accuracy", MAJORITY, majority_share)


def answer(
    split: str,
    scope: str,
    subject: str,
    metrics: dict,
    baseline: float,
    majority: str,
    prevalence: float | None = None,
    positive: str | None = None,
) -> str:
    """Say in one sentence how good the model is on one split, beside what it has to beat.

    Parameters
    ----------
    split : str
        ``"out_of_fold"`` or ``"test"``.
    scope : str
        What was scored, such as "5,086 images of 5,086 lesions".
    subject : str
        Who reaches the numbers, such as "a random forest (rf)" or "it".
    metrics : dict
        The metrics of this split, by name.
    baseline : float
        The accuracy of always answering `majority`.
    prevalence : float, optional
        Of two classes, that of the positive one.
    positive : str, optional
        Of two classes, the positive one.
    """
    where = f"{upper_first(SPLIT_PLACES[split])}{', on' if split == 'out_of_fold' else ' of'}"
    constant = f"where always answering {majority} gives {number(baseline)}"
    metric, name, floor = rival(metrics, baseline)
    remark = _VERDICTS[verdict(metrics[metric], floor)].format(rival=name)
    remark = f": {remark}" if remark else ""
    accuracy = f"accuracy {_with_interval(metrics['accuracy'])} {constant}"
    if metric == "auc":
        area = metric_name("auc", positive)
        parts = [f"{area} {_with_interval(metrics['auc'])} where guessing gives 0.500{remark}"]
        rare = f" where the prevalence is {number(prevalence)}" if defined(prevalence) else ""
        precision = metric_name("average_precision", positive).replace("Average", "average")
        parts += [f"{precision} {_with_interval(metrics['average_precision'])}{rare}", accuracy]
    else:
        parts = [f"{accuracy}{remark}", f"macro AUC {_with_interval(metrics['macro_auc'])}"]
    return f"{where} {scope}, {subject} reaches {'; '.join(parts)}."


def _with_interval(entry: dict) -> str:
    if not defined(entry["value"]):
        return "not defined"
    return f"{number(entry['value'])} ({interval(entry)})"


FILTERS = {
    "number": number,
    "signed": signed,
    "count": count,
    "percent": percent,
    "interval": interval,
    "p_value": p_value,
    "duration": duration,
    "position": position,
    "metric_name": metric_name,
    "listed": listed,
    "upper_first": upper_first,
}
