"""
What do age, BMI and BMD add to the image?
==========================================

The densitometer measures the bone mineral density (BMD) on the very scan, and age and
body mass index (BMI) are known before it. Together they tell something about the
trabecular bone score (TBS) without a look at the texture. This example asks how well
the TBS is predicted by these three, by the image, and by both in one Pipeline. It
takes less than a minute on two cores.

All scans are phantoms, whose age, BMI, BMD and TBS were drawn from published figures:
what a patient's add may be more or less.
"""

# %%
# Scans
# -----
# Four hundred phantom patients. The table ``scans.frame`` has columns for age, BMI and
# BMD. That of `load_scans` has those of your file.

import numpy as np

from tbsclassify import TBSLabeler, make_dxa_phantoms

scans = make_dxa_phantoms(400, n_jobs=2, random_state=0)
y = TBSLabeler().fit_transform(scans.tbs)
clinical = ["age", "bmi", "bmd"]
print(scans.frame[clinical].assign(tbs=scans.tbs).describe().loc[["mean", "std"]])

# %%
# Features of the image
# ---------------------
# :class:`~tbsclassify.DeepTextureFeatures` describes a crop by means and standard
# deviations of what the early layers of a frozen network see. It learns nothing of TBS,
# so all scans can be described once, before any cross-validation. Without torchvision's
# ImageNet weights the first layer of a random network has to do.

import pandas as pd
from sklearn.pipeline import make_pipeline

from tbsclassify import DeepTextureFeatures, LumbarCropper

try:
    describe = make_pipeline(LumbarCropper(), DeepTextureFeatures(scales=[1.0]))
    features = describe.fit_transform(scans.frame)
except OSError as error:
    print(error)
    describe = make_pipeline(
        LumbarCropper(),
        DeepTextureFeatures(weights=None, random_state=0),
    )
    features = describe.fit_transform(scans.frame)
image = pd.DataFrame(features, columns=describe[-1].get_feature_names_out())
table = pd.concat([image, scans.frame[clinical]], axis=1)
print(image.shape, list(image)[:2])

# %%
# Three models
# ------------
# Each is a ridge regression of TBS that chooses its strength by itself.

from sklearn.compose import ColumnTransformer
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from tbsclassify.clinical import make_clinical_features

of_image = ("image", StandardScaler(), list(image))
of_patient = ("clinical", make_clinical_features(), clinical)


def ridge(*parts):
    """Make a ridge regression on parts of the table."""
    columns = ColumnTransformer(list(parts))
    return make_pipeline(columns, RidgeCV(np.logspace(-1, 5, 19)))


models = {
    "age, BMI, BMD": ridge(of_patient),
    "image": ridge(of_image),
    "image + age, BMI, BMD": ridge(of_image, of_patient),
}

# %%
# Patients held out
# -----------------
# Five folds by patient. Predicted values of all folds are in TBS units and may be
# pooled. Intervals come from a bootstrap over patients. The area under the ROC curve is
# that of the predicted TBS, degraded (TBS below 1.200) against the rest.

from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from tbsclassify.metrics import classification_row, format_table, regression_row

splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
folds = list(splitter.split(table, y, groups=scans.patient))
predicted = {
    name: cross_val_predict(model, table, scans.tbs, cv=folds)
    for name, model in models.items()
}
bootstrap = {"groups": scans.patient, "random_state": 0}
values = {
    name: regression_row(scans.tbs, value, **bootstrap)
    for name, value in predicted.items()
}
classes = {
    name: classification_row(y, -value, threshold=-1.2, **bootstrap)
    for name, value in predicted.items()
}
print(f"{len(y)} phantom patients, {y.sum()} of them degraded")
report = format_table(values).T
report.loc["roc_auc"] = format_table(classes)["roc_auc"]
print(report.to_string())

# %%
# Do the clinical columns add anything to the image? The same patients are in both
# rows, so the difference is compared pair by pair.

from tbsclassify.metrics import difference_row

both, alone = predicted["image + age, BMI, BMD"], predicted["image"]
difference = difference_row(y, -both, -alone, thresholds=(-1.2, -1.2), **bootstrap)
print(format_table({"both minus image": difference})[["roc_auc"]].to_string())

# %%
# The picture
# -----------

import matplotlib.pyplot as plt

fig, axes = plt.subplot_mosaic(
    [["roc_auc", "patient", "both"], ["r", "patient", "both"]],
    figsize=(11, 4.2),
    layout="constrained",
    width_ratios=[1.2, 1, 1],
)
titles = {"roc_auc": "Area under the ROC curve", "r": "Correlation with true TBS"}
for measure, rows in [("roc_auc", classes), ("r", values)]:
    for i, row in enumerate(rows.values()):
        value = row[measure]
        low, high = row[f"{measure}_low"], row[f"{measure}_high"]
        axes[measure].errorbar(
            value, i, xerr=[[value - low], [high - value]], fmt="o", capsize=3
        )
    axes[measure].set_yticks(range(len(rows)), list(rows))
    axes[measure].set(title=titles[measure], ylim=(len(rows) - 0.5, -0.5))
for key, name in [("patient", "age, BMI, BMD"), ("both", "image + age, BMI, BMD")]:
    axes[key].scatter(scans.tbs, predicted[name], s=8, alpha=0.6)
    axes[key].axline((1.25, 1.25), slope=1, color="black", linewidth=0.8)
    axes[key].set(title=name, xlabel="true TBS", ylabel="predicted TBS")
axes["both"].sharey(axes["patient"])
fig.suptitle("Phantoms: 95 % intervals by patient, five-fold cross-validation")
plt.show()

# %%
# On these phantoms the three columns alone are far behind the image, and add little to
# it: four hundred patients are too few to tell whether they add anything.
#
# One Pipeline for new scans
# --------------------------
# To predict scans as they come, put the description of images into the Pipeline. It
# then takes tables such as ``scans.frame``::
#
#     from sklearn.pipeline import FeatureUnion
#
#     images = make_pipeline(LumbarCropper(), DeepTextureFeatures(), StandardScaler())
#     model = make_pipeline(
#         FeatureUnion(
#             [("image", images), ("clinical", make_clinical_features(clinical))]
#         ),
#         RidgeCV(np.logspace(-1, 5, 19)),
#     )
#     model.fit(scans.frame, scans.tbs).predict(new_scans.frame)
