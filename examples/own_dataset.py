"""An own dataset: name its columns, embed its images, and see what folds by image would have claimed.

Data are drawn into ``drawn/``, as a stand-in for a folder of your own with a table of your own.
"""

from pathlib import Path

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score

import dermfuse
from dermfuse.features.demo.synthetic import make_dataset

folder = Path("drawn")
make_dataset(folder / "data", lesions=60, size=64)

# A table as people have it. Nothing in it says which column is what, so the keywords do.
table = pd.read_csv(folder / "data" / "metadata.csv")
names = {"image_id": "file", "dx": "diagnosed", "lesion_id": "lesion"}
table.rename(columns=names).to_csv(folder / "data" / "own.csv", index=False)
data = dermfuse.load_dataset(
    folder / "data",
    table="own.csv",
    image_column="file",
    label_column="diagnosed",
    group_column="lesion",
    metadata_columns={"age": "number", "sex": "category", "localization": "category"},
    quiet=True,
)

embedder = dermfuse.ImageEmbedder("efficientnet_lite0", cache=folder / "embeddings", bad_images="nan")
X = embedder.fit_transform(data.X)
good = X.filter(like=":").notna().all(axis=1).to_numpy()  # three of the drawn files are no images, on purpose
X, y, groups = X[good], data.y[good], data.groups[good]

model = dermfuse.FusionClassifier("logreg", balance="none", folds=2, n_jobs=1)
by_lesion = StratifiedGroupKFold(2, shuffle=True, random_state=0)
by_image = StratifiedKFold(2, shuffle=True, random_state=0)
honest = cross_val_score(model, X, y, groups=groups, cv=by_lesion, params={"groups": groups})
flattered = cross_val_score(model, X, y, cv=by_image)
print(f"{len(y)} images of {len(set(groups))} lesions")
print(f"accuracy with folds by lesion {honest.mean():.3f}, with folds by image {flattered.mean():.3f}")
