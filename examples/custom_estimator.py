"""Any scikit-learn classifier in the place of the zoo's: scaled, compressed, fused with metadata and calibrated."""

from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

import dermfuse
from dermfuse.features.demo.synthetic import make_dataset

folder = Path("drawn")
make_dataset(folder / "data", lesions=60, size=64)
data = dermfuse.load_dataset(folder / "data", quiet=True)
embedder = dermfuse.ImageEmbedder("efficientnet_lite0", cache=folder / "embeddings", bad_images="nan")
X = embedder.fit_transform(data.X)
good = X.filter(like=":").notna().all(axis=1).to_numpy()
X, y, groups = X[good], data.y[good], data.groups[good]

boosting = HistGradientBoostingClassifier(max_iter=30, learning_rate=0.1)
model = dermfuse.FusionClassifier(boosting, balance="none", folds=3, n_jobs=1).fit(X, y, groups=groups)

# Each row's own probabilities come from fits that had not seen its lesion.
decided = model.classes_[model.out_of_fold_proba_.argmax(axis=1)]
majority = max(np.mean(y == name) for name in model.classes_)
print(f"out-of-fold accuracy {np.mean(decided == y):.3f}, always the most frequent class {majority:.3f}")
known, unknown = X[:1], X[:1].assign(age=np.nan, sex=None, localization=None)
for title, row in (("with metadata", known), ("without", unknown)):
    print(f"{title}: {model.predict(row)[0]} ({model.predict_proba(row).max():.2f})")
