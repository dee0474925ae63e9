"""
Telling degraded from normal bone
=================================

Can a network tell degraded trabecular structure from the rest on patients that
it has not seen, and does it beat what the grey levels alone give away? This
example answers both on phantoms: synthetic lumbar-spine DXA scans with a known
trabecular bone score (TBS). It takes about two minutes on two cores.

The results are phantom results. They show that the code runs and learns what
was put into the phantoms, and say nothing about patients.
"""

# %%
# Scans, labels, patients
# -----------------------
# Seven hundred and twenty phantom patients, one scan each. With your own scans
# this line is ``scans = load_scans("scans.csv", "images")`` and all that follows
# stays as it is.

import numpy as np

from tbsclassify import TBSLabeler, make_dxa_phantoms

scans = make_dxa_phantoms(720, n_jobs=2, random_state=0)
labeler = TBSLabeler()
y = labeler.fit_transform(scans.tbs)
print(dict(zip(labeler.class_names_.tolist(), np.bincount(y).tolist(), strict=True)))

# %%
# The table ``scans.frame`` is our ``X``: it keeps each image together with its
# L1-L4 boxes, wherever a split sends it. A third of the patients is held out.

from sklearn.model_selection import StratifiedGroupKFold

splitter = StratifiedGroupKFold(3, shuffle=True, random_state=0)
train, test = next(splitter.split(scans.frame, y, groups=scans.patient))
assert not set(scans.patient[train]) & set(scans.patient[test])

# %%
# Four classifiers
# ----------------
# A plain baseline knows the mean, the spread and some percentiles of the grey
# levels, and nothing of their arrangement. One scan in five is degraded, so every
# classifier gives the classes equal weight.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSPretrainedClassifier,
    make_texture_classifier,
)


def grey_level_statistics(crops):
    """Describe each crop by seven numbers."""
    flat = crops.reshape(len(crops), -1)
    percentiles = np.percentile(flat, [5, 25, 50, 75, 95], axis=1)
    return np.column_stack([flat.mean(axis=1), flat.std(axis=1), *percentiles])


baseline = make_pipeline(
    LumbarCropper(),
    FunctionTransformer(grey_level_statistics),
    StandardScaler(),
    LogisticRegression(class_weight="balanced", max_iter=1000),
)

# %%
# The second baseline is texture: the variogram of the vertebrae and a logistic
# regression. TBS is itself a texture measure, so a network is worth its cost only
# where it does better.

texture = make_texture_classifier(class_weight="balanced")

# %%
# The ad hoc network has five small blocks and is trained from scratch, for ten
# epochs in place of up to two hundred. ``TBSAdHocClassifier.from_paper("model4")``
# and its like are the paper's.

ad_hoc = make_pipeline(
    LumbarCropper(),
    TBSAdHocClassifier(
        blocks=5,
        filters=(8, 16, 32, 32, 32),
        fc=(32,),
        lr=0.003,
        batch_size=24,
        max_epochs=10,
        class_weight="balanced",
        random_state=0,
    ),
)


# %%
# The pretrained one is a SqueezeNet whose head alone is trained, for four epochs.
# Torchvision fetches its ImageNet weights (5 MB) once. Where it cannot, the
# example goes on from random weights, says so, and the result is much worse.


def pretrained(weights):
    """Make the pipeline, trained from these initial weights."""
    classifier = TBSPretrainedClassifier(
        "squeezenet1_0",
        mode="head",
        weights=weights,
        lr=0.001,
        max_epochs=4,
        class_weight="balanced",
        random_state=0,
    )
    return make_pipeline(LumbarCropper(), classifier)


try:
    squeezenet = pretrained("imagenet").fit(scans.frame.iloc[train], y[train])
    name = "SqueezeNet, ImageNet weights, head"
except OSError as error:
    print(error)
    squeezenet = pretrained(None).fit(scans.frame.iloc[train], y[train])
    name = "SqueezeNet, random weights, head"

models = {
    "grey-level statistics": baseline.fit(scans.frame.iloc[train], y[train]),
    "texture (variogram)": texture.fit(scans.frame.iloc[train], y[train]),
    "ad hoc network": ad_hoc.fit(scans.frame.iloc[train], y[train]),
    name: squeezenet,
}

# %%
# An honest table
# ---------------
# Each measure comes with a 95 % interval, from a bootstrap over patients. Where
# the intervals of two models overlap widely, the table does not say which is
# the better one.

from tbsclassify import classification_row, format_table

scores = {
    model: pipeline.predict_proba(scans.frame.iloc[test])[:, 1]
    for model, pipeline in models.items()
}
rows = {
    model: classification_row(
        y[test], score, groups=scans.patient[test], random_state=0
    )
    for model, score in scores.items()
}
print(f"{len(test)} phantom patients held out, {y[test].sum()} of them degraded")
print(format_table(rows, decimals=2).T.to_string())

# %%
# The area under the ROC curve (``roc_auc``) does not depend on the threshold, the
# other measures are those at 0.5. After so few epochs the networks are far from
# what they can learn; :ref:`the guide <guide>` says how to train them in earnest.
#
# Scans, crops and ROC curves
# ---------------------------

import matplotlib.pyplot as plt
from sklearn.metrics import RocCurveDisplay

fig, axes = plt.subplot_mosaic(
    [["scan 0", "scan 1", "roc", "roc"], ["crop 0", "crop 1", "roc", "roc"]],
    figsize=(11, 5.2),
    layout="constrained",
)
shown = [test[y[test] == 0][0], test[y[test] == 1][0]]
crops = LumbarCropper().transform(scans.frame.iloc[shown])
for i, scan in enumerate(shown):
    label = labeler.class_names_[y[scan]]
    axes[f"scan {i}"].imshow(scans.images[scan], cmap="gray", vmin=0, vmax=255)
    axes[f"scan {i}"].set_title(f"{label}, TBS {scans.tbs[scan]:.3f}", fontsize=10)
    for top, left, bottom, right in scans.boxes[scan]:
        box = plt.Rectangle(
            (left, top), right - left, bottom - top, fill=False, edgecolor="tab:orange"
        )
        axes[f"scan {i}"].add_patch(box)
    axes[f"crop {i}"].imshow(crops[i], cmap="gray", vmin=0, vmax=255)
    axes[f"crop {i}"].set_title("224 x 224 crop", fontsize=10)
for key, axis in axes.items():
    axis.set_axis_off() if key != "roc" else None
for model, score in scores.items():
    RocCurveDisplay.from_predictions(
        y[test],
        score,
        name=model,
        ax=axes["roc"],
        plot_chance_level=model == name,
    )
axes["roc"].set_title("Degraded against the rest, held-out phantoms", fontsize=10)
plt.show()
