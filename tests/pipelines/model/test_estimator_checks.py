"""Our estimators obey scikit-learn's rules for estimators, and where one cannot, it fails as it is said to."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from dermfuse.pipelines.model.anova import AnovaSelection
from dermfuse.pipelines.model.balance import ClassWeighted
from dermfuse.pipelines.model.calibration import Calibrator, Uncalibrated, calibrator_named
from dermfuse.pipelines.model.choices import CALIBRATORS
from dermfuse.pipelines.model.fusion import LateFusion
from dermfuse.pipelines.model.preprocess import BlockWeight, LeadingComponents, SignedSquareRoot
from dermfuse.pipelines.model.svm import PairwiseSVC

TRANSFORMERS = [
    SignedSquareRoot(),
    BlockWeight(),
    BlockWeight(scale=0.5),
    LeadingComponents(1),
    AnovaSelection(mode="fpr", param=0.05),
    AnovaSelection(mode="k_best", param=3),
]
CALIBRATION = [calibrator_named(name) for name in CALIBRATORS]
CLASSIFIERS = [
    ClassWeighted(LogisticRegression()),
    # Of other tags: it takes missing values, and sparse ones.
    ClassWeighted(RandomForestClassifier(5, random_state=0)),
    PairwiseSVC(),
    PairwiseSVC(gamma=0.1, tol=1e-12),
]
ESTIMATORS = [*TRANSFORMERS, *CALIBRATION, *CLASSIFIERS]

BY_VOTES = "libsvm decides by votes of pairs, and coupled probabilities of rows near a border may rank otherwise"
BY_VARIANCE = "gamma='scale' is taken from the variance of the rows as they are, and libsvm stops at tol=1e-3"
THREE_CLASSES = "the check gives two columns and three classes, but a calibrator's columns are the classes"

# The checks that some estimator cannot pass, and why; each has to fail indeed.
PAIRWISE = {"check_classifiers_train": BY_VOTES}
PAIRWISE_SCALED = PAIRWISE | {
    "check_sample_weight_equivalence_on_dense_data": BY_VARIANCE,
    "check_sample_weight_equivalence_on_sparse_data": BY_VARIANCE,
}
LEARNED_CALIBRATION = dict.fromkeys(
    ("check_estimators_overwrite_params", "check_estimators_fit_returns_self", "check_readonly_memmap_input"),
    THREE_CLASSES,
)


def expected_to_fail(estimator) -> dict[str, str]:
    if isinstance(estimator, PairwiseSVC):
        return PAIRWISE_SCALED if estimator.gamma == "scale" else PAIRWISE
    if isinstance(estimator, Calibrator) and not isinstance(estimator, Uncalibrated):
        return LEARNED_CALIBRATION
    return {}


def name_of_check(check) -> str:
    return getattr(check, "func", check).__name__


def each(estimators):
    return pytest.mark.parametrize("estimator", estimators, ids=lambda estimator: repr(estimator).replace("\n", ""))


def by_name(*names: str):
    """Checks of scikit-learn's that it runs over its own estimators alone, or that need no data."""
    checks = [getattr(estimator_checks, f"check_{name}") for name in names]
    return pytest.mark.parametrize("check", checks, ids=names)


# xfail_strict in pyproject.toml: a check that is expected to fail and passes is a failure.
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_to_fail)
def test_every_estimator_obeys_scikit_learn(estimator, check):
    check(estimator)


def test_what_is_expected_to_fail_is_run_at_all():
    for estimator in ESTIMATORS:
        run = {name_of_check(check) for _, check in estimator_checks_generator(estimator)}
        assert set(expected_to_fail(estimator)) <= run


# The checks fit with names and transform without, or the other way round, and do not mind the warning.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@each([*TRANSFORMERS, *CALIBRATION])
@by_name(
    "transformer_get_feature_names_out",
    "transformer_get_feature_names_out_pandas",
    "set_output_transform",
    "set_output_transform_pandas",
    "global_output_transform_pandas",
)
def test_transformers_name_what_comes_out(check, estimator):
    check(type(estimator).__name__, estimator)


@each(ESTIMATORS)
@by_name("dataframe_column_names_consistency", "n_features_in_after_fitting")
def test_columns_of_other_names_or_number_are_refused_or_told(check, estimator):
    check(type(estimator).__name__, estimator)


@each([*TRANSFORMERS[:4], *CLASSIFIERS, *CALIBRATION, LateFusion(["age"], ["sex"])])
def test_a_parameter_of_another_kind_is_refused_by_name(estimator):
    estimator_checks.check_param_validation(type(estimator).__name__, estimator)


@each([kind for kind in CALIBRATION if not isinstance(kind, Uncalibrated)])
class TestCalibratorsWithAColumnAClass:
    """What the three checks that calibrators cannot pass are about, with as many columns as classes."""

    def drawn(self):
        rng = np.random.default_rng(0)
        return rng.dirichlet(np.ones(3), 60), rng.integers(0, 3, 60)

    def test_fitting_returns_the_calibrator_and_changes_no_parameter(self, estimator):
        made = clone(estimator)
        before = made.get_params()
        assert made.fit(*self.drawn()) is made
        assert made.get_params() == before

    def test_arrays_that_cannot_be_written_are_enough(self, estimator):
        p, truth = self.drawn()
        p.flags.writeable = truth.flags.writeable = False
        assert clone(estimator).fit(p, truth).transform(p).shape == (60, 3)

    @pytest.mark.parametrize("odd", [3, -1, 0.5, np.nan])
    def test_a_class_without_a_column_is_refused(self, estimator, odd):
        p, truth = self.drawn()
        with pytest.raises(ValueError, match="y holds|y contains NaN"):
            clone(estimator).fit(p, np.r_[truth[:-1].astype(float), odd])


class TestLateFusion:
    """It learns from two tables at once, probabilities and fields, so checks that call ``fit(X, y)`` cannot be run."""

    @by_name(
        "mixin_order",
        "valid_tag_types",
        "estimator_repr",
        "estimator_cloneable",
        "no_attributes_set_in_init",
        "get_params_invariance",
        "set_params",
        "do_not_raise_errors_in_init_or_set_params",
    )
    def test_what_needs_no_data_holds(self, check):
        check("LateFusion", LateFusion(["age"], ["sex"], seed=3))

    def test_it_refuses_to_predict_unfitted(self):
        with pytest.raises(NotFittedError):
            LateFusion(["age"], []).predict_proba(np.full((1, 2), 0.5), None)


def test_a_classifier_without_probabilities_is_refused_by_class_weighted():
    with pytest.raises(ValueError, match="'estimator' parameter of ClassWeighted must be an object implementing"):
        ClassWeighted(LinearRegression()).fit(np.eye(4), [0, 1, 0, 1])


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_pairwise_probabilities_do_not_depend_on_the_shape_of_margins(classes):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), np.arange(100) % classes
    by_pair, by_class = (PairwiseSVC(decision_function_shape=shape).fit(X, y) for shape in ("ovo", "ovr"))
    assert np.array_equal(by_pair.predict_proba(X), by_class.predict_proba(X))
    assert np.array_equal(by_class.predict_log_proba(X), np.log(by_pair.predict_proba(X)))
    assert by_class.decision_function_shape == "ovr"
