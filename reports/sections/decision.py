"""The facts of the decision curve: where deciding by the model gains over treating all or none."""

from __future__ import annotations

from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import SPLIT_NAMES, SPLIT_PLACES, listed, number, percent, upper_first

EXAMPLE = 0.10
LEAST_AXIS = 0.2


def decision_facts(run: RunFolder) -> dict | None:
    """Return the decision curves; None of many classes of which none is known to be malignant."""
    told = run.metrics.get("decision_curve")
    if told is None:
        return None
    return {
        "classes": told["classes"],
        "sentences": [_worth(told[split], SPLIT_PLACES[split], listed(told["classes"], "or")) for split in SPLITS],
        "splits": [{"split": s, "title": SPLIT_NAMES[s], "last": _axis(told), **told[s]} for s in SPLITS],
    }


def _axis(told: dict) -> float:
    """Return the largest threshold worth drawing: the last at which the model may still gain something."""
    gaining = [
        threshold
        for split in SPLITS
        for threshold, high in zip(told[split]["threshold"], told[split]["high"], strict=True)
        if high > 0.001
    ]
    return max([LEAST_AXIS, *gaining])


def _worth(curve: dict, place: str, classes: str) -> str:
    """Say in one sentence where the model gains, and how much at one threshold."""
    at = min(range(len(curve["threshold"])), key=lambda k: abs(curve["threshold"][k] - EXAMPLE))
    words = (
        f"at a threshold of {percent(curve['threshold'][at], 0)} the net benefit of the model is "
        f"{number(curve['net_benefit'][at])}, that of treating all {number(curve['treat_all'][at])}"
    )
    run = _longest([low > 0 for low in curve["gain_low"]])
    if run is None:
        return f"At no threshold does the model surely gain over treating all or none {place}; {words}."
    low, high = (percent(curve["threshold"][k], 0) for k in run)
    return (
        f"{upper_first(place)}, deciding by the probability of {classes} gains over both treating all and "
        f"treating none at thresholds from {low} to {high}; {words}."
    )


def _longest(flags: list[bool]) -> tuple[int, int] | None:
    """Return the first and last place of the longest run of true flags."""
    best, start = None, None
    for place, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = place
        elif not flag and start is not None:
            if best is None or place - start > best[1] - best[0] + 1:
                best = (start, place - 1)
            start = None
    return best
