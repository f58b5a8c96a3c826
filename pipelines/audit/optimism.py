"""What a split by images would have added to the scores: one plain model, cross-validated in both ways."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from dermfuse.pipelines.audit.check import Check, Question
from dermfuse.pipelines.audit.giveaway import Labels
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.memo import Findings
from dermfuse.pipelines.model.preprocess import preprocess
from dermfuse.pipelines.model.table import Columns, assemble
from dermfuse.pipelines.statistics.bootstrap import draw, owners_of
from dermfuse.pipelines.statistics.weighted import Scores

GAP = Question(
    "OPTIMISM_GAP",
    "No gain by folds by images over folds by groups can be told from chance",
    "note",
    "What folds by images would score better than folds by groups",
)
COMPONENTS = 50
MOST_ROWS = 20_000


def check_optimism(given: AuditInput, labels: Labels | None, console, findings: Findings | None = None) -> Check:
    """The gap between random and grouped folds, with an interval over groups, or as `findings` knows it."""
    if labels is None:
        return GAP.not_applicable("there are no folds: the classes are too small")
    if given.dataset.layout.group is None:
        return GAP.not_applicable("the table names no group; name it with --group-column")
    sizes = np.unique(labels.groups, return_counts=True)[1]
    if sizes.max() < 2:
        return GAP.not_applicable("every group has one row, so both kinds of folds are the same")
    columns, X = _features(given)
    if not columns.players():
        return GAP.not_applicable("no features: no embeddings and no metadata; run extract")
    chosen = _some_groups(labels, given.seed)
    if not chosen.all():
        some = f"{int(chosen.sum()):,} of {len(chosen):,} training rows"
        console.notice(f"the audit's optimism gap is of {some}, whole groups drawn by seed")
    X, within = X.iloc[labels.rows[chosen]], _only(labels, chosen)
    if np.bincount(within.truth).min() < len(np.unique(within.fold)):
        return GAP.not_applicable("a class has fewer rows than there are folds")
    inputs = {**within.inputs(), **_values(X, columns), "seed": given.seed}
    part = (findings or Findings()).part("optimism", inputs, lambda: _gap(X, columns, within, given.seed))
    return _judged(part, columns)


def _gap(X, columns: Columns, labels: Labels, seed: int) -> dict:
    """Scores with both kinds of folds, and their difference with its interval."""
    truth, owner = labels.truth, owners_of(labels.groups)
    by_images = _random_folds(truth, len(np.unique(labels.fold)), seed)
    # Threads of linear algebra gain nothing on matrices so narrow, and wait for each other where others work.
    with threadpool_limits(1):
        by_group, by_image = (_probabilities(X, columns, truth, fold) for fold in (labels.fold, by_images))
    honest, rosy = Scores(truth, by_group, owner), Scores(truth, by_image, owner)
    entries = draw(lambda w: {"auc": rosy.macro_auc(w) - honest.macro_auc(w)}, owner, seed).entries()
    one = np.ones((1, owner.max() + 1))
    return {
        "auc": {"groups": honest.macro_auc(one)[0], "images": rosy.macro_auc(one)[0]},
        "accuracy": {
            "groups": (by_group.argmax(axis=1) == truth).mean(),
            "images": (by_image.argmax(axis=1) == truth).mean(),
        },
        "gap": entries["auc"],
    }


def _judged(part: dict, columns: Columns) -> Check:
    auc, right, gap = part["auc"], part["accuracy"], part["gap"]
    kinds = {"embeddings": columns.images, "metadata": columns.metadata}
    inputs = " and ".join(kind for kind, names in kinds.items() if names)
    detail = (
        f"Logistic regression on {inputs}: macro AUC {auc['images']:.3f} with folds by images, {auc['groups']:.3f} "
        f"with folds by groups, a gap of {gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f}); accuracy "
        f"{right['images']:.3f} against {right['groups']:.3f}. Models that memorise more gain more."
    )
    if gap["low"] > 0:
        return GAP.found(1, f"Folds by images score better than folds by groups. {detail}")
    return GAP.passed(detail)


def _only(labels: Labels, chosen: np.ndarray) -> Labels:
    of = (labels.truth, labels.groups, labels.fold, labels.rows)
    return Labels(labels.names, *(values[chosen] for values in of))


def _values(X, columns: Columns) -> dict[str, object]:
    """The columns of a table, as what a part of the audit is computed from."""
    images = {f"images {name}": X[names].to_numpy() for name, names in columns.images.items()}
    numeric = {f"numeric {name}": X[name].to_numpy() for name in columns.numeric}
    return {**images, **numeric, **{f"categorical {name}": X[name].to_list() for name in columns.categorical}}


def _features(given: AuditInput):
    """Columns and rows for the model: the run's own table, or the metadata alone."""
    if given.table is not None:
        return given.table.columns, given.table.X
    layout = given.dataset.layout
    columns = Columns({}, list(layout.numeric), list(layout.categorical))
    return columns, assemble(columns, {}, given.dataset.rows[columns.metadata])


def _some_groups(labels: Labels, seed: int) -> np.ndarray:
    """All rows, or those of randomly drawn groups, `MOST_ROWS` at most; bool, (m,)."""
    if len(labels.truth) <= MOST_ROWS:
        return np.ones(len(labels.truth), bool)
    owner = owners_of(labels.groups)
    order = np.random.default_rng(seed).permutation(owner.max() + 1)
    upto = np.cumsum(np.bincount(owner)[order]) <= MOST_ROWS
    return np.isin(owner, order[upto])


def _random_folds(truth: np.ndarray, folds: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(truth), int)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(np.zeros(len(truth)), truth)):
        fold[held] = number
    return fold


def _probabilities(X, columns: Columns, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Out-of-fold probabilities of a plain logistic regression, (m, classes)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    p = np.zeros((len(truth), truth.max() + 1))
    for number in np.unique(fold):
        learned, held = fold != number, fold == number
        components = min(COMPONENTS, int(learned.sum()) - 1)
        model = LogisticRegression(C=0.01, max_iter=200)
        pipeline = Pipeline([("preprocess", preprocess(columns, components, None)), ("model", model)])
        pipeline.fit(X[learned], truth[learned])
        p[np.ix_(held, pipeline.classes_)] = pipeline.predict_proba(X[held])
    return p
