"""Time the texture features, and measure what the slopes share with the TBS.

Run ``python benchmarks/texture.py [n_patients] [random_state]``, with
``OMP_NUM_THREADS=1`` for times on one core. The second table is that behind the
notes of `tbsclassify.texture.initial_slope`.

``python benchmarks/texture.py spacing [n_patients] [random_state]`` measures what
becomes of the variogram features, and of TBS predicted from them, when pixels are
brought from 0.6 to 0.25 mm and back, and when other scans have 0.25 mm. All scans
are phantoms.
"""

import sys
import time
import warnings
from functools import partial

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify import LumbarCropper
from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.texture import VariogramFeatures, initial_slope

PLAIN, ROBUST = {}, {"sigma": 0.8, "lag_range": (3, 8)}


def time_features(n_scans=1000):
    scans = make_dxa_phantoms(50, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some crops cut L1-L4: no matter here
        crops = LumbarCropper().fit_transform(scans.images, boxes=scans.boxes)
    repeat = np.resize(np.arange(len(crops)), n_scans)
    for name, images, boxes in (
        ("224 x 224 crops", crops[repeat], None),
        ("280 x 300 scans with boxes", scans.images[repeat], scans.boxes[repeat]),
    ):
        for sigma in (0.0, 0.8):
            start = time.perf_counter()
            VariogramFeatures(sigma=sigma).transform(images, boxes=boxes)
            seconds = time.perf_counter() - start
            print(f"{n_scans} {name}, sigma={sigma}: {seconds:.2f} s")


def slopes(scans, parameters):
    pairs = zip(scans.images, scans.boxes, strict=True)
    return np.array([initial_slope(scan, boxes=b, **parameters) for scan, b in pairs])


def measure_slopes(n_patients, random_state):
    regression = make_pipeline(
        VariogramFeatures(), StandardScaler(), RidgeCV(np.logspace(-2, 4, 13))
    )
    folds = GroupKFold(5, shuffle=True, random_state=0)
    print("noise  score   mean (sd)    R2 with TBS  r with BMI")
    for noise in (0, 0.01, 0.03, 0.05, 0.07):
        scans = make_dxa_phantoms(n_patients, noise=noise, random_state=random_state)
        predicted = cross_val_predict(
            regression, scans.frame, scans.tbs_latent, groups=scans.patient, cv=folds
        )
        for name, score in (
            ("plain", slopes(scans, PLAIN)),
            ("robust", slopes(scans, ROBUST)),
            ("ridge", predicted),
        ):
            with_tbs = np.corrcoef(score, scans.tbs_latent)[0, 1]
            with_bmi = np.corrcoef(score, scans.bmi)[0, 1]
            print(
                f"{noise:.2f}   {name:6s}  {score.mean():.2f} ({score.std():.2f})  "
                f"{with_tbs**2:11.2f}  {with_bmi:+10.2f}"
            )


def measure_precision(n_patients, random_state):
    scans = make_dxa_phantoms(
        n_patients, scans_per_patient=2, random_state=random_state
    )
    for name, parameters in (("plain", PLAIN), ("robust", ROBUST)):
        first, second = slopes(scans, parameters).reshape(-1, 2).T
        variation = np.abs(first - second) / np.sqrt(2) / ((first + second) / 2)
        print(
            f"{name} slope, RMS-CV of two scans: {np.sqrt(np.mean(variation**2)):.1%}"
        )


def measure_spacing(n_patients=240, random_state=0):
    """Compare 14.4 cm around the spine at 0.6 and 0.25 mm, resampled or not."""
    half = n_patients // 2
    coarse, fine = (
        make_dxa_phantoms(n_patients, size=size, random_state=random_state)
        for size in ((280, 300), (672, 720))
    )
    to_coarse, to_fine = (
        partial(LumbarCropper, size, spacing=spacing)
        for size, spacing in ((240, 0.6), (576, 0.25))
    )
    tbs = coarse.tbs_latent
    reference = VariogramFeatures().transform(to_coarse().transform(coarse.frame))
    spread = reference.std(axis=0)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    model.fit(reference[:half], tbs[:half])

    def show(name, crops):
        features = VariogramFeatures().transform(crops)
        shift = (features - reference).mean(axis=0) / spread
        scatter = (features - reference).std(axis=0) / spread
        predicted, true = model.predict(features[half:]), tbs[half:]
        print(
            f"{name:40s} {np.abs(shift).mean():8.2f} {scatter.mean():8.2f} "
            f"{np.corrcoef(predicted, true)[0, 1]:6.2f} "
            f"{np.mean(predicted - true):+8.3f} "
            f"{np.mean(np.abs(predicted - true)):8.3f}"
        )

    print(
        "Differences of features from those at 0.6 mm in sd between patients; TBS of "
        f"{n_patients - half} patients\npredicted by ridge regression on "
        f"{half} others at 0.6 mm"
    )
    print(
        f"{'':40s} {'shift':>8s} {'scatter':>8s} {'r':>6s} {'bias':>8s} {'error':>8s}"
    )
    show("scans of 0.6 mm", to_coarse().transform(coarse.frame))
    for resample in ("bilinear", "bicubic", "lanczos"):
        up = to_fine(resample=resample).transform(coarse.frame)
        back = to_coarse(resample=resample).transform(up, spacings=[0.25] * len(up))
        show(f"  to 0.25 mm, {resample}", up)
        show(f"  to 0.25 mm and back, {resample}", back)
    show("scans of 0.25 mm", to_fine().transform(fine.frame))
    for resample in ("bilinear", "box", "lanczos"):
        down = to_coarse(resample=resample).transform(fine.frame)
        show(f"  to 0.6 mm, {resample}", down)


def main(n_patients=240, random_state=0):
    time_features()
    measure_slopes(n_patients, random_state)
    measure_precision(n_patients // 2, random_state)


if __name__ == "__main__":
    if sys.argv[1:2] == ["spacing"]:
        measure_spacing(*map(int, sys.argv[2:]))
    else:
        main(*map(int, sys.argv[1:]))
