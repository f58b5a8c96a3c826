"""What the JSON documents of a run folder hold: one typed schema, for the writer and for every reader."""

from __future__ import annotations

import math
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from dermfuse.cache.errors import listed
from dermfuse.pipelines.options.fit import KEPT
from dermfuse.pipelines.options.option import Option

SCHEMA = 1
T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Part of a folder's name in the cache.
BlockName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@+=-]{1,100}$")]


class Entry(BaseModel):
    """A JSON object whose named entries are checked; what else is in it is let be."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Document(Entry):
    """A file with a schema number."""

    version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)


class Interval(Entry):
    """A value with its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @model_validator(mode="after")
    def _in_order(self) -> Interval:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval from {self.low} to {self.high} ends before it begins")
        return self


class Metadata(Entry):
    """Names of the metadata columns."""

    numeric: list[str]
    categorical: list[str]


class DatasetFacts(Entry):
    """``config.json``: what the run was fitted to."""

    name: str
    preset: str | None
    synthetic: bool
    label_column: str
    group_column: str | None
    image_column: str | None
    classes: Annotated[list[str], Field(min_length=2)]
    metadata: Metadata
    leak_columns: list[str]
    malignant: list[str]
    subgroups: list[str]
    own_test_split: bool

    @model_validator(mode="after")
    def _classes_differ(self) -> DatasetFacts:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes stand twice in {self.classes}")
        return self


class BlockFacts(Entry):
    """``config.json``: one image block."""

    name: BlockName
    key: Key
    width: Annotated[int, Field(ge=1, le=1_000_000)]
    recipe: dict
    learned_from: dict | None
    runtimes: list[dict]
    noticed: list[str]


def _chosen(option: Option) -> tuple:
    """An option as a field: its type and bounds, but not what there was to choose from when the run was made."""
    kind = Annotated[option.kind, Field(ge=option.low, le=option.high)]
    return (kind if option.default is not None else kind | None, ...)


Chosen = create_model("Chosen", __base__=Document, **{name: _chosen(option) for name, option in KEPT.items()})


class Config(Chosen):
    """``config.json``; it gets its `name` last."""

    name: str = ""
    created: str
    dataset: DatasetFacts
    model_title: str
    model_parameters: dict
    smote_neighbors: int | None
    features: list[str]
    tuning: dict | None
    shuffles: Count | None
    test_fraction: Share
    majority_class: str
    prevalence: list[Annotated[float, Field(gt=0, le=1)]]
    blocks: list[BlockFacts]
    commands: Annotated[list[list[str]], Field(min_length=1)]

    @model_validator(mode="after")
    def _of_these_classes(self) -> Config:
        classes = self.dataset.classes
        if len(self.prevalence) != len(classes):
            raise ValueError(f"prevalence has {len(self.prevalence)} numbers for {len(classes)} classes")
        if abs(math.fsum(self.prevalence) - 1) > 1e-6:
            raise ValueError(f"prevalence adds up to {math.fsum(self.prevalence):.6g} and not to 1")
        if self.majority_class not in classes:
            raise ValueError(f"majority_class {self.majority_class!r} is none of the classes")
        if self.prevalence[classes.index(self.majority_class)] < max(self.prevalence):
            raise ValueError(f"majority_class {self.majority_class!r} is not the most frequent one")
        return self


class Counted(Entry):
    """``data.json``: one count."""

    what: str
    n: Count


class Side(Entry):
    """``data.json``: one side of the locked split."""

    split: Literal["train", "test"]
    images: Count
    groups: Count
    classes: dict[str, Count]


class Data(Entry):
    """``data.json``."""

    counts: list[Counted]
    groups: str | None
    splits: Annotated[list[Side], Field(min_length=2, max_length=2)]
    notices: list[str]
    openings: Annotated[list[str], Field(min_length=1)]


class Environment(Entry):
    """``environment.json``."""

    python: str
    platform: str
    cpus: int | None
    device: str
    packages: dict[str, str | None]
    seconds: dict[str, Annotated[float, Field(ge=0)]]
    peak_memory_mb: float
    peak_memory_workers_mb: float


class ClassScores(Entry):
    """``metrics.json``: one class of one split."""

    name: str = Field(alias="class")
    n: Count
    prevalence: Share | None
    sensitivity: Interval
    specificity: Interval
    precision: Interval
    f1: Interval
    auc: Interval
    average_precision: Interval


class Both(Entry, Generic[T]):
    """The same for the out-of-fold rows and for the locked test split."""

    out_of_fold: T
    test: T


class Calibration(Entry):
    """``metrics.json``: how far probabilities mean what they say, by each way of calibrating."""

    used: str
    methods: Both[dict[str, dict[str, float | None]]]
    reliability: Both[dict]
    means: Both[list[dict[str, float | None]]]


class Metrics(Document):
    """``metrics.json``."""

    intervals: str
    out_of_fold: dict[str, Interval]
    test: dict[str, Interval]
    majority: Both[Share | None]
    folds: Annotated[list[dict[str, float | None]], Field(min_length=2)]
    per_class: Both[list[ClassScores]]
    confusion: Both[list[list[Count]]]
    operating_points: Both[dict[str, dict[str, Interval]]]
    uncalibrated: Both[dict[str, float | None]]
    calibration: Calibration
    positive: str | None = None

    @model_validator(mode="after")
    def _headline(self) -> Metrics:
        if set(self.out_of_fold) != set(self.test) or "accuracy" not in self.test:
            raise ValueError("out_of_fold and test hold different metrics, or no accuracy")
        for part in ("out_of_fold", "test"):
            told, names = getattr(self, part), [row.name for row in getattr(self.per_class, part)]
            matrix = getattr(self.confusion, part)
            if {len(row) for row in matrix} != {len(names)} or len(matrix) != len(names):
                raise ValueError(f"confusion.{part} is no square of {len(names)} classes")
            if sum(map(sum, matrix)) and told["accuracy"].value is None:
                raise ValueError(f"{part}.accuracy has no value")
        return self


class ClassThreshold(Entry):
    """``prediction_sets.json``: one class."""

    name: str = Field(alias="class")
    threshold: Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]


class PredictionSets(Document):
    """``prediction_sets.json``; without thresholds where `reason` says why there are none."""

    coverage: Annotated[float, Field(ge=0.5, lt=1)]
    method: str
    reason: str | None
    by_class: list[ClassThreshold] = []


class Pattern(Entry):
    """``missing_fields.json``: one pattern of missing fields."""

    missing: list[str]
    out_of_fold: dict[str, Interval | float | None]
    test: dict[str, Interval | float | None]
    thresholds: dict[str, Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]] | None


class MissingFields(Document):
    """``missing_fields.json``."""

    fields_: list[str] = Field(alias="fields")
    patterns: list[Pattern]


class Finding(Entry):
    """``audit.json``: one check."""

    code: str
    severity: Literal["error", "warning", "note"]
    state: Literal["passed", "found", "not applicable"]
    count: int
    sentence: str
    looks_at_test_labels: bool


class AuditFacts(Document):
    """``audit.json``."""

    rows: Count
    errors: Count
    warnings: Count
    notes: Count
    checks: list[Finding]


class Cell(Entry):
    """``subgroups.json``: one value of one column."""

    value: str
    withheld: bool
    images: Count | None
    groups: Count | None
    metrics: dict[str, Interval]
    gaps: dict[str, Interval]


class SubgroupColumn(Entry):
    """``subgroups.json``: one column."""

    column: str
    rounded: bool
    cells: list[Cell]


class Subgroups(Document):
    """``subgroups.json``."""

    smallest_cell: Count
    fewest_of_class: Count
    area: str
    malignant: list[str]
    how: str
    left_out: list[dict[str, str]]
    out_of_fold: list[SubgroupColumn]
    test: list[SubgroupColumn]


class Autoencoder(Entry):
    """``autoencoder.json``: how it learned."""

    train_loss: list[float]
    validation_loss: list[float]
    best_epoch: Count
    rows: dict[str, Count]
    image_size: Count
    latent: Count


DOCUMENTS: dict[str, type[Entry]] = {
    "config.json": Config,
    "data.json": Data,
    "environment.json": Environment,
    "metrics.json": Metrics,
    "prediction_sets.json": PredictionSets,
    "missing_fields.json": MissingFields,
    "audit.json": AuditFacts,
    "subgroups.json": Subgroups,
    "autoencoder.json": Autoencoder,
}


def fault_in(name: str, document: object) -> str | None:
    """The first thing in a document that is not as its schema says, in words; None where all is well.

    Parameters
    ----------
    name : str
        Of the file; one that has no schema of its own need only be an object.
    document : object
        What the file holds.

    Examples
    --------
    >>> fault_in("missing_fields.json", {"schema": 1, "fields": ["age", 3], "patterns": []})
    'fields.1: input should be a valid string, got 3'
    >>> fault_in("missing_fields.json", {"schema": 1})
    'lacks fields, patterns'
    """
    if not isinstance(document, dict):
        return "must be a JSON object"
    if document.get("schema", SCHEMA) != SCHEMA or isinstance(document.get("schema"), bool):
        return f"has schema {document['schema']!r}, but this version reads schema {SCHEMA}"
    if name not in DOCUMENTS:
        return None
    try:
        DOCUMENTS[name].model_validate(document)
    except ValidationError as error:
        return _in_words(error)
    except RecursionError:
        return "is nested too deeply"
    return None


def _in_words(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    absent = [".".join(map(str, fault["loc"])) for fault in faults if fault["type"] == "missing"]
    if absent:
        return f"lacks {listed(absent)}"
    first = faults[0]
    place = ".".join(map(str, first["loc"]))
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{place}: {said}" if place else said
    return f"{place}: {said[:1].lower()}{said[1:]}, got {str(first['input'])[:40]}"
