"""The small real data sets that come inside scikit-learn: no download.

Their files are read straight from the installed package: importing scikit-learn to do the same would
cost more time than most of these runs take to train.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np

from dlrun.data.arrays.source import Source
from dlrun.errors import ConfigError

_IRIS = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_WINE = (
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
    "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines",
    "proline",
)  # fmt: skip
_CELL = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity",
    "concave points", "symmetry", "fractal dimension",
)  # fmt: skip
_BREAST_CANCER = (
    *(f"mean {name}" for name in _CELL),
    *(f"{name} error" for name in _CELL),
    *(f"worst {name}" for name in _CELL),
)
_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def digits() -> Source:
    """1,797 handwritten digits as (1, 8, 8) images with values 0 to 16, 10 classes (UCI, 1998)."""
    table = np.loadtxt(_open("digits.csv.gz"), delimiter=",", dtype=np.float32)
    return Source(
        inputs=table[:, :-1].reshape(-1, 1, 8, 8),
        targets=table[:, -1].astype(np.int64),
        task="classification",
        kind="image",
        class_names=tuple("0123456789"),
        pixel_max=16.0,
    )


def iris() -> Source:
    """150 flowers, 4 measurements, 3 species (Fisher, 1936)."""
    return _labelled_table("iris.csv", _IRIS)


def wine() -> Source:
    """178 wines, 13 chemical measurements, 3 cultivars (UCI, 1991)."""
    return _labelled_table("wine_data.csv", _WINE)


def breast_cancer() -> Source:
    """569 tumours, 30 measurements of cell nuclei, malignant or benign (Wisconsin, 1995)."""
    return _labelled_table("breast_cancer.csv", _BREAST_CANCER)


def diabetes() -> Source:
    """442 patients, 10 measurements, disease progression a year later (Efron et al., 2004)."""
    return Source(
        inputs=np.loadtxt(_open("diabetes_data_raw.csv.gz"), dtype=np.float32),
        targets=np.loadtxt(_open("diabetes_target.csv.gz"), dtype=np.float32),
        task="regression",
        kind="features",
        feature_names=_DIABETES,
    )


def _labelled_table(name: str, feature_names: tuple[str, ...]) -> Source:
    """A table whose first row is `rows,features,class names…` and whose last column is the class number."""
    rows = csv.reader(_open(name))
    _, _, *class_names = next(rows)
    table = np.array(list(rows), dtype=np.float64)
    return Source(
        inputs=table[:, :-1].astype(np.float32),
        targets=table[:, -1].astype(np.int64),
        task="classification",
        kind="features",
        class_names=tuple(class_names),
        feature_names=feature_names,
    )


def _open(name: str) -> io.StringIO:
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ConfigError(
            "dataset needs scikit-learn, whose files hold it: pip install scikit-learn"
        )
    file = Path(package.submodule_search_locations[0], "datasets", "data", name)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{file} is missing from the installed scikit-learn: install it again"
        ) from None
    return io.StringIO((gzip.decompress(content) if name.endswith(".gz") else content).decode())
