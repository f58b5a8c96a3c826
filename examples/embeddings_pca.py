"""Embeddings as a table: two principal components of drawn lesions, coloured by class."""

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dermfuse
from dermfuse.features.demo.synthetic import make_dataset

folder = Path("drawn")
make_dataset(folder / "data", lesions=60, size=64)
data = dermfuse.load_dataset(folder / "data", quiet=True)

# The second call, of this or of any other program with this cache, computes nothing.
embedder = dermfuse.ImageEmbedder("efficientnet_lite0", cache=folder / "embeddings", bad_images="nan")
table = embedder.fit_transform(data.X["path"]).dropna()
print(f"{len(table)} images, {table.shape[1]} columns from {table.columns[0]} to {table.columns[-1]}")

components = make_pipeline(StandardScaler(), PCA(2, random_state=0)).fit_transform(table)
labels = data.y[data.X.index.isin(table.index)]
figure, axes = plt.subplots()
for name in sorted(set(labels)):
    axes.scatter(*components[labels == name].T, label=name, s=12)
axes.set(xlabel="First component", ylabel="Second component")
axes.legend()
figure.savefig(folder / "components.png")
