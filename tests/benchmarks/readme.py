"""Make the README's tables of results anew, on real data, by the commands that the README names.

    python -m tests.benchmarks.readme [--data DIR] [--siim DIR] [--weights-dir DIR] [--cache DIR] [--only NAMES]

Prints each table; ``--write`` puts it between the README's marks ``<!-- results: NAME -->`` and ``<!-- end -->``. About
an hour on two cores; ``--only`` makes some of them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.measure import ROOT, measure, table

README = ROOT / "README.md"
MODELS = ("logreg", "svm", "mlp", "xgb", "rf")
ARMS = ("metadata", "images", "both")
VIEWS = ("--views", "8", "--levels", "multi", "--balance", "none")


class Place:
    """Where a run of this file keeps its embeddings and runs, each made once."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options, self.folder = options, folder
        self._extracted: set[tuple] = set()
        self._fitted: dict[tuple, dict] = {}

    def fit(self, *more: object) -> dict:
        """What ``fit`` prints of the main dataset, fitted once for each choice."""
        if more not in self._fitted:
            command = ("fit", *self._source(), "--runs", self.folder / "runs", "--no-explain", "--json", "--quiet")
            self._fitted[more] = json.loads(measure(*command, *more).output)
        return self._fitted[more]

    def fit_siim(self, *more: object) -> dict:
        """What ``fit`` prints of the table of SIIM-ISIC 2020."""
        command = ("fit", "--data", self.options.siim, "--no-images", "--runs", self.folder / "runs", "--no-explain")
        return json.loads(measure(*command, "--json", "--quiet", *more).output)

    def ablate(self, *more: object) -> dict:
        """What ``ablate`` prints of the main dataset."""
        command = ("ablate", *self._source(), "--runs", self.folder / "runs", "--json", "--quiet")
        return json.loads(measure(*command, *more).output)

    def extract(self, *more: object) -> None:
        """Embed the images, once for each choice."""
        if more not in self._extracted:
            weights = ("--weights-dir", self.options.weights_dir, "--features", "mobilenet_v2", "--quiet")
            measure("extract", *self._source(), *weights, *more)
            self._extracted.add(more)

    def _source(self) -> tuple:
        return ("--data", self.options.data, "--cache", self.options.cache or self.folder / "embeddings")


def main() -> None:
    """Make the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/ham10000"))
    parser.add_argument("--siim", type=Path, default=Path("../shared/siim_isic_2020"))
    parser.add_argument("--weights-dir", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--cache", type=Path, help="embeddings that are at hand; made anew if not given")
    parser.add_argument("--only", default=",".join(TABLES), help="names of tables, by comma")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(options, Path(folder))
        for name in options.only.split(","):
            text = table(*TABLES[name](place))
            print(f"{name}\n\n{text}\n", flush=True)
            if options.write:
                put(README, name, text)


def models(place: Place):
    """The models with one view."""
    place.extract()
    rows = []
    for model in MODELS:
        told = place.fit("--features", "mobilenet_v2", "--views", 1, "--levels", "last", "--model", model)
        rows.append((f"`{model}`", *_scores(told)))
    return ("model", "accuracy", "macro AUC"), rows


def views(place: Place):
    """The models with eight views and several levels."""
    place.extract("--views", 8, "--levels", "multi")
    rows = [
        (f"`{model}`", *_scores(place.fit("--features", "mobilenet_v2", *VIEWS, "--model", model))) for model in MODELS
    ]
    return ("model", "accuracy", "macro AUC"), rows


def missing(place: Place):
    """What an answer is worth when fields are missing, beside a model that never had metadata."""
    place.extract("--views", 8, "--levels", "multi")
    rows = []
    for model in MODELS:
        fit = ("--features", "mobilenet_v2", *VIEWS, "--model", model)
        run = Path(place.fit(*fit)["run"])
        never = place.fit(*fit, "--no-metadata")
        content = json.loads((run / "missing_fields.json").read_text())
        by_pattern = {tuple(entry["missing"]): entry["out_of_fold"] for entry in content["patterns"]}
        fields = tuple(content["fields"])
        cells = [by_pattern[pattern]["macro_auc"]["value"] for pattern in ((), *((f,) for f in fields), fields)]
        cells.append(never["out_of_fold"]["macro_auc"]["value"])
        rows.append((f"`{model}`", *(f"{value:.3f}" for value in cells)))
    header = ("model", "all fields", *(f"without {field}" for field in fields), "without any", "`--no-metadata`")
    return header, rows


def ablation(place: Place):
    """What metadata adds to images."""
    place.extract()
    chosen = ("--features", "mobilenet_v2", "--views", 1, "--levels", "last", "--model", "logreg,rf,xgb,mlp")
    told = place.ablate(*chosen)
    return ("model", "metadata", "images", "both", "what metadata adds", "on the locked test split"), list(_arms(told))


def siim(place: Place):
    """Metadata alone, whole patients in each fold."""
    rows = []
    for model in ("logreg", "xgb"):
        told = place.fit_siim("--model", model)["out_of_fold"]
        rows.append((f"`{model}`", *(_interval(told[name]) for name in ("auc", "average_precision"))))
    return ("model", "AUC out of fold", "average precision"), rows


def _arms(told: dict):
    """A row a model: each arm's macro AUC, and the paired difference that metadata makes."""
    runs = {Path(run["name"]).name: run for run in told["runs"]}
    for pair in told["pairs"]:
        model, _, arm = pair["first"].partition("-")
        if pair["headline"] and arm == "images":
            arms = [runs[f"{model}-{what}"]["metrics"]["out_of_fold"]["macro_auc"] for what in ARMS]
            gains = [pair["results"][split]["macro_auc"] for split in ("out_of_fold", "test")]
            added = [_interval({**gain, "value": gain["difference"]}, "+") for gain in gains]
            yield f"`{model}`", *(f"{entry['value']:.3f}" for entry in arms), *added


TABLES: dict[str, Callable] = {
    "models": models,
    "views": views,
    "missing": missing,
    "ablation": ablation,
    "siim": siim,
}


def put(page: Path, name: str, text: str) -> None:
    """Put a table between its marks.

    Raises
    ------
    ValueError
        The page has no such marks.
    """
    before = page.read_text(encoding="utf-8")
    mark = re.compile(rf"(<!-- results: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not mark.search(before):
        raise ValueError(f"{page.name} has no marks for the table {name!r}")
    page.write_text(mark.sub(lambda found: f"{found[1]}{text}\n{found[2]}", before), encoding="utf-8")


def _scores(told: dict) -> tuple[str, ...]:
    return tuple(_interval(told["out_of_fold"][name]) for name in ("accuracy", "macro_auc"))


def _interval(entry: dict, sign: str = "") -> str:
    return f"{entry['value']:{sign}.3f} ({entry['low']:{sign}.3f} to {entry['high']:{sign}.3f})"


if __name__ == "__main__":
    sys.exit(main())
