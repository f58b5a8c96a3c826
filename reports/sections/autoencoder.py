"""The facts of the autoencoder: how it learned, and the epoch whose weights were kept."""

from __future__ import annotations

from dermfuse.reports.runfolder import RunFolder


def autoencoder_facts(run: RunFolder) -> dict | None:
    """Return the losses by epoch, counted from 0, and what it learned from; None where the run used none."""
    told = run.autoencoder
    if told is None:
        return None
    return {
        **{key: told[key] for key in ("train_loss", "validation_loss", "rows", "image_size", "latent")},
        "best": told["best_epoch"],
        "best_loss": told["validation_loss"][told["best_epoch"]],
        "has_reconstructions": run.reconstructions is not None,
    }
