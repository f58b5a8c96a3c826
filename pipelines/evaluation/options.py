"""What a person chose for a fit, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from dermfuse.cache.errors import usage_error
from dermfuse.features.extractors.stages import LEVELS
from dermfuse.features.images.views import VIEWS
from dermfuse.pipelines.evaluation.splits import FOLDS
from dermfuse.pipelines.model import calibration
from dermfuse.pipelines.model.balance import BALANCES
from dermfuse.pipelines.model.zoo import model_named


@dataclass(frozen=True)
class FitOptions:
    """What a person chose on the command line.

    Attributes
    ----------
    model : str
        A name of the zoo.
    features : list of str or None
        Image blocks; None takes all that were extracted for these images.
    use_metadata, use_images : bool
    balance : str
        ``smote``, ``weights`` or ``none``.
    calibration : str
        A name of `dermfuse.pipelines.model.calibration.CALIBRATORS`.
    select_k : int or None
        Encoded metadata columns that ANOVA keeps; None keeps those with p < 0.05.
    folds, repeats, seed : int
        Folds, and divisions into folds.
    tune : int
        Candidates of the search for settings inside each training part; 0 for none.
    jobs : int
        Fits at a time, or threads of a single one; -1 for all cores.
    explain : bool
        Compute SHAP values and permutation importance.
    views, levels : int or None, str or None
        Of the embeddings of pretrained networks; None takes those extracted last.
    """

    model: str
    features: list[str] | None = None
    use_metadata: bool = True
    use_images: bool = True
    balance: str = "smote"
    calibration: str = calibration.DEFAULT
    select_k: int | None = None
    folds: int = FOLDS
    repeats: int = 1
    tune: int = 0
    seed: int = 0
    jobs: int = -1
    explain: bool = True
    views: int | None = None
    levels: str | None = None

    def check(self) -> None:
        """Refuse impossible choices before any work.

        Raises
        ------
        UserError
            With exit code 2.
        """
        model_named(self.model)
        if self.balance not in BALANCES:
            raise usage_error(f"unknown --balance {self.balance!r}. Known: {', '.join(BALANCES)}.")
        calibration.calibrator_named(self.calibration)
        if not 0 <= self.seed < 2**32:
            raise usage_error(f"--seed {self.seed} is out of range. Give 0 to {2**32 - 1}.")
        if self.repeats < 1:
            raise usage_error(f"--repeats {self.repeats} divides nothing. Give 1 or more.")
        if self.tune < 0:
            raise usage_error(f"--tune {self.tune} is below zero. Give a number of candidates, or leave it out.")
        if self.tune and find_spec("optuna") is None:
            raise usage_error("--tune needs optuna. Run: pip install 'dermfuse[tune]'.")
        if self.jobs != -1 and self.jobs < 1:
            raise usage_error(f"--jobs {self.jobs} does no work. Give 1 or more; without it, one a core.")
        if self.select_k is not None and self.select_k < 1:
            raise usage_error(f"--select-k {self.select_k} selects nothing. Give 1 or more; without it, p decides.")
        if self.views not in (None, *VIEWS):
            raise usage_error(f"--views is {self.views}, but expected one of {', '.join(map(str, VIEWS))}.")
        if self.levels not in (None, *LEVELS):
            raise usage_error(f"unknown --levels {self.levels!r}. Known: {', '.join(LEVELS)}.")
        if not (self.use_metadata or self.use_images):
            raise usage_error("--no-metadata and --no-images together leave no features. Give one of them at most.")
        if not self.use_images and (self.views or self.levels):
            raise usage_error("--views and --levels are of embeddings, and contradict --no-images. Leave them out.")
        if not self.use_images and self.features:
            raise usage_error("--features and --no-images contradict each other. Give one of them.")
