"""How phantoms lie in their frames and what a vertebra looks like on average.

Run ``python benchmarks/appearance.py [SCANS]``, where SCANS, if given, is a folder with
``images`` and ``scans.csv`` whose columns ``file``, ``subject`` and ``L1_top`` to
``L4_right`` describe real scans of 224 x 224 pixels; scans without boxes are left out.

Shares of the frame are 5th, 50th and 95th percentiles. Places within a vertebra are
those of the mean picture of L2 and L3, from the middle of the disc above (0) to that of
the disc below (1): where the spine is widest and narrowest, and where its middle is
darkest and brightest. The last two figures compare 300 plain and varied phantoms by
the area under the ROC curve of degraded bone (ridge regression of the TBS on
variogram features, five folds by patient) and the seconds a scan takes.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify import VariogramFeatures, make_dxa_phantoms, read_scan

SIDES = ("top", "left", "bottom", "right")
SIZE = (224, 224)
STEPS = np.linspace(-1, 1, 81)


def read_real(folder):
    """Return images and boxes of the scans whose boxes are known."""
    table = pd.read_csv(folder / "scans.csv").dropna(subset="L1_top")
    images = [read_scan(folder / "images" / file) for file in table["file"]]
    columns = [f"L{level}_{side}" for level in range(1, 5) for side in SIDES]
    return images, table[columns].to_numpy(float).reshape(-1, 4, 4)


def print_frame(boxes):
    top, left, bottom, right = np.moveaxis(boxes, -1, 0) / SIZE[0]
    centre = (top + bottom) / 2
    spacing = np.diff(centre, axis=1)
    shares = {
        "width of L1-L4": np.mean(right - left, axis=1),
        "spacing": spacing.mean(axis=1),
        "top of L1": top[:, 0],
        "bottom of L4": bottom[:, 3],
        "axis": np.mean(left + right, axis=1) / 2,
        "gap over spacing": ((top[:, 1:] - bottom[:, :-1]) / spacing).ravel(),
    }
    for name, values in shares.items():
        print(f"  {name:18s}", np.percentile(values, [5, 50, 95]).round(3))


def mean_vertebra(images, boxes):
    """Return the mean picture of L2 and L3, two spacings high and two widths wide."""
    pictures = []
    for image, box in zip(images, boxes, strict=True):
        y, x = (box[:, :2] + box[:, 2:]).T / 2
        width = np.median(box[:, 3] - box[:, 1])
        for level in (1, 2):
            half = (y[level + 1] - y[level - 1]) / 2
            slope = (x[level + 1] - x[level - 1]) / (2 * half)
            down = STEPS[:, None] * half
            rows = y[level] + down + 0 * STEPS
            columns = x[level] + slope * down + width * STEPS
            picture = ndimage.map_coordinates(
                np.asarray(image, dtype=float), [rows, columns], order=1, mode="nearest"
            )
            vertebra = picture[20:60, 20:60]
            pictures.append((picture - vertebra.mean()) / vertebra.std())
    return np.mean(pictures, axis=0)


def print_places(picture):
    inside = slice(20, 61)
    place = STEPS[inside] + 0.5
    beside = np.r_[16:23, 58:65]
    outline, middle = (
        ndimage.gaussian_filter1d(picture[:, columns].mean(axis=1), 2)[inside]
        for columns in (beside, slice(37, 44))
    )
    print(
        f"  widest {place[outline.argmax()]:.2f}, narrowest"
        f" {place[outline.argmin()]:.2f}; middle darkest {place[middle.argmin()]:.2f},"
        f" brightest {place[middle.argmax()]:.2f}"
    )


def print_difficulty(appearance):
    """Print how well texture tells degraded bone, for several seeds."""
    for seed in range(4):
        start = time.process_time()
        scans = make_dxa_phantoms(300, appearance=appearance, random_state=seed)
        seconds = (time.process_time() - start) / len(scans.tbs)
        X = VariogramFeatures().fit_transform(scans.images, boxes=scans.boxes)
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
        predicted = cross_val_predict(
            model, X, scans.tbs, groups=scans.patient, cv=GroupKFold(5)
        )
        area = roc_auc_score(scans.tbs < 1.2, -predicted)
        print(f"  seed {seed}: AUC {area:.3f}, {1000 * seconds:.0f} ms a scan")


def main(folder=None):
    data = {}
    for appearance in ("plain", "varied"):
        scans = make_dxa_phantoms(150, appearance=appearance, size=SIZE, random_state=3)
        data[appearance] = scans.images, scans.boxes
    if folder is not None:
        data["real scans"] = read_real(Path(folder))
    for name, (images, boxes) in data.items():
        print(f"{name}: {len(boxes)} scans")
        print_frame(boxes)
        print_places(mean_vertebra(images, boxes))
    for appearance in ("plain", "varied"):
        print(appearance)
        print_difficulty(appearance)


if __name__ == "__main__":
    main(*sys.argv[1:])
