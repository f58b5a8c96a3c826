"""What a person chooses for a fit."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from dermfuse.cache.errors import usage_error
from dermfuse.features.choices import LEVELS, VIEWS
from dermfuse.pipelines.model.choices import BALANCES, CALIBRATION, CALIBRATORS
from dermfuse.pipelines.model.zoo import MODELS
from dermfuse.pipelines.options.extract import extractors
from dermfuse.pipelines.options.option import ALWAYS, NEVER, Options, option, options_of
from dermfuse.pipelines.options.shared import seed_option

_LAST = "Of the embeddings, {choices}; those extracted last if not given."


@dataclass(frozen=True)
class FitOptions(Options):
    """Options of a fit; None takes all image blocks, those extracted last, or columns with p < 0.05."""

    model: str = option("rf", "{choices}.", choices=MODELS, told=ALWAYS)
    features: list[str] | None = option(
        None, "Extractors, by comma: mobilenet_v2,cae.", choices=extractors, open=True, told=ALWAYS, kept="blocks"
    )
    use_metadata: bool = option(True, "Images alone.", flag="--no-metadata")
    use_images: bool = option(True, "Metadata alone.", flag="--no-images", kept="blocks")
    balance: str = option("smote", "{choices}.", choices=BALANCES, told=ALWAYS)
    calibration: str = option(CALIBRATION, "{choices}.", choices=CALIBRATORS, kept="calibration.method")
    select_k: int | None = option(None, "Encoded metadata columns ANOVA keeps; p < 0.05 if not given.", low=1)
    folds: int = option(5, "Grouped stratified folds.", low=2)
    repeats: int = option(1, "Times that the rows are divided into folds, anew each time.", low=1)
    tune: int = option(
        0, "Candidates of a search for settings inside each training part; 0 for none.", low=0, kept="tuning.candidates"
    )
    seed: int = seed_option()
    jobs: int = option(-1, "Fits at a time; -1 for one a core.", low=1, also=(-1,), panel="Scale", told=NEVER)
    explain: bool = option(True, "Leave SHAP and permutation importance out.", flag="--no-explain", kept="shuffles")
    views: int | None = option(None, _LAST, choices=VIEWS, kept="blocks")
    levels: str | None = option(None, _LAST, choices=LEVELS, kept="blocks")

    def check(self) -> None:
        """Refuse values and contradictions as :meth:`Options.check` does."""
        super().check()
        if self.tune and find_spec("optuna") is None:
            raise usage_error("--tune needs optuna. Run: pip install 'dermfuse[tune]'.")
        if not (self.use_metadata or self.use_images):
            raise usage_error("--no-metadata and --no-images together leave no features. Give one of them at most.")
        if not self.use_images and (self.views or self.levels):
            raise usage_error("--views and --levels are of embeddings, and contradict --no-images. Leave them out.")
        if not self.use_images and self.features:
            raise usage_error("--features and --no-images contradict each other. Give one of them.")


# What config.json tells under an option's own name.
KEPT = {name: o for name, o in options_of(FitOptions).items() if o.told != NEVER and not o.kept}
