"""From the facts of a run to ``report.html``: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dermfuse.cache.atomic import atomic_write
from dermfuse.cache.errors import UserError
from dermfuse.pipelines.runs.drafts import clear_half_written
from dermfuse.pipelines.runs.opened import AGAIN
from dermfuse.reports.drawing import figures
from dermfuse.reports.pages.facts import facts
from dermfuse.reports.pages.page import page
from dermfuse.reports.runfolder import RunFolder, read_run


def write_report(
    run: Path, with_images: bool = False, trust: bool = False, notice: Callable[[str], None] | None = None
) -> Path:
    """Render the run folder `run` into ``report.html`` inside it.

    Parameters
    ----------
    run : Path
        A run folder of schema 1.
    with_images : bool
        Show reconstructions and near-copies, which are pictures of patients. Pictures of a synthetic
        dataset are always shown.
    trust, notice
        As of :func:`dermfuse.pipelines.runs.opened.open_run`.

    Returns
    -------
    Path
        The page; an older one in its place is replaced in one step, or not at all.

    Raises
    ------
    UserError
        When `run` is not a complete run folder of schema 1, or cannot be written to.
    """
    run = Path(run)
    html = _rendered(run, read_run(run, trust, notice), with_images)
    target = run / "report.html"
    clear_half_written(run, notice or (lambda _line: None))
    try:
        atomic_write(target, html.encode("utf-8"))
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); make the run folder writable") from None
    return target


def _rendered(folder: Path, run: RunFolder, with_images: bool) -> str:
    """The page; where the run was changed by hand, what cannot be shown is told as that and not as a defect."""
    try:
        return render(run, with_images)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        if not run.changed:
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{folder} cannot be shown ({reason}): {run.changed[0]}. {AGAIN}.") from None


def render(run: RunFolder, with_images: bool = False) -> str:
    """Return the page of `run` as HTML; the same run gives the same bytes."""
    told = facts(run)
    pictures = {"images": _images(run, with_images), "pairs": _pairs(run, with_images)}
    return page("report.html", **told, figures=_figures(told), **pictures)


def _figures(told: dict) -> dict:
    return {
        "roc": {split["split"]: figures.roc_figure(split) for split in told["curves"]["splits"]},
        "precision_recall": {
            split["split"]: figures.precision_recall_figure(split) for split in told["curves"]["splits"]
        },
        "reliability": {
            diagram["split"]: figures.reliability_figure(diagram, told["calibration"]["positive"])
            for diagram in told["calibration"]["diagrams"]
        },
        "decision": {
            split["split"]: figures.decision_figure(split) for split in (told["decision"] or {}).get("splits", [])
        },
        "swarms": [
            figures.swarm_figure(swarm, index, told["importance"]["limits"])
            for index, swarm in enumerate(told["importance"]["swarms"])
        ],
        "loss": figures.loss_figure(told["autoencoder"]) if told["autoencoder"] else None,
    }


def _images(run: RunFolder, with_images: bool) -> list[tuple[str, str]]:
    private = _private(run, with_images)
    return [] if private or run.reconstructions is None else figures.reconstruction_images(run.reconstructions)


def _pairs(run: RunFolder, with_images: bool) -> list[tuple[str, str]]:
    private = _private(run, with_images)
    return [] if private or run.audit_pairs is None else figures.reconstruction_images(run.audit_pairs[:2])


def _private(run: RunFolder, with_images: bool) -> bool:
    return not (with_images or run.config["dataset"]["synthetic"])
