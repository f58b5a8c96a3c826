"""The model of a run in one file without pickle: kept, and loaded only once its parts were checked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from dermfuse.cache.errors import UserError, listed
from dermfuse.pipelines.runs.digests import check_regular
from dermfuse.pipelines.runs.modelparts import read_parts

MODEL = "model.skops"

# Types that a run's model is made of and that skops does not know by itself; nothing else is loaded.
TRUSTED = (
    "dermfuse.pipelines.model.anova.AnovaSelection",
    "dermfuse.pipelines.model.anova.anova_f",
    "dermfuse.pipelines.model.balance.ClassWeighted",
    "dermfuse.pipelines.model.calibration.BiasCorrectedTemperature",
    "dermfuse.pipelines.model.calibration.CalibratedPipeline",
    "dermfuse.pipelines.model.calibration.Dirichlet",
    "dermfuse.pipelines.model.calibration.Isotonic",
    "dermfuse.pipelines.model.calibration.Temperature",
    "dermfuse.pipelines.model.calibration.Uncalibrated",
    "dermfuse.pipelines.model.fieldwise.FieldwiseModel",
    "dermfuse.pipelines.model.fusion.LateFusion",
    "dermfuse.pipelines.model.preprocess.BlockWeight",
    "dermfuse.pipelines.model.preprocess.LeadingComponents",
    "dermfuse.pipelines.model.preprocess.SignedSquareRoot",
    "dermfuse.pipelines.model.svm.PairwiseSVC",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
)


def save_model(folder: Path, model) -> None:
    """Keep the fitted model, without pickle."""
    from skops.io import dump

    # A forest shrinks to a fifth in a second; higher levels take twice as long for little more.
    dump(model, folder / MODEL, compression=zipfile.ZIP_DEFLATED, compresslevel=1)


def load_model(folder: Path):
    """Load the run's model; only types named in `TRUSTED`, or known to skops, are made.

    Before anything is made, sizes and the structures that native code follows are checked (trees, boosters); after
    it, every number and shape is, and a few rows are tried, see :func:`dermfuse.pipelines.runs.modelcheck.check_model`.

    Raises
    ------
    UserError
        It is missing, damaged, holds another type, or cannot predict.
    """
    from skops.io import get_untrusted_types, load
    from skops.io.exceptions import UntrustedTypesFoundException

    from dermfuse.pipelines.runs.modelcheck import check_model, check_parts

    path = folder / MODEL
    try:
        check_regular(path)
        parts = read_parts(path)
        check_parts(parts)
        with np.errstate(all="ignore"):
            model = load(path, trusted=list(TRUSTED))
            check_model(model)
        return model
    except UserError:
        raise
    except UntrustedTypesFoundException:
        strange = listed(sorted(set(get_untrusted_types(file=path)) - set(TRUSTED)))
        raise UserError(f"{path} holds types that no run has: {strange}. It was not loaded.") from None
    except Exception as error:  # zip, JSON, numpy, scikit-learn and skops' own errors, some of them without a word
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"cannot load {path}: {reason}. Run 'python cli.py fit' again.") from None
