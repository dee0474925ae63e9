"""
How are three approaches compared honestly?
===========================================

The paper's experiment in one call: pretrained networks of which all layers are
trained, pretrained networks of which the last layer is trained, ad hoc networks, and
the texture baseline that the paper lacks, on the same splits and with intervals. It
takes about half a minute on one core.

The results are phantom results, at a size and with a number of epochs that suit
a gallery: they show how a comparison is made and read, and rank nothing. How long
the paper's full size takes is said at the end.
"""

# %%
# Scans and models
# ----------------
# One hundred and twenty phantom patients. ``paper_models()`` gives the paper's
# fourteen networks and the baseline; this example takes one of each kind, with
# random weights, since a gallery has no network, small crops and few epochs.

from tbsclassify import (
    LumbarCropper,
    TBSLabeler,
    compare_models,
    make_dxa_phantoms,
    paper_models,
)

scans = make_dxa_phantoms(120, class_shares=(1, 0, 1), n_jobs=2, random_state=0)
y = TBSLabeler().fit_transform(scans.tbs)

small = LumbarCropper(80, scale="fit")
everything = paper_models(cropper=small, weights=None, max_epochs=3, lr=0.003)
approach = {
    "squeezenet1_0-full": "1: all layers",
    "squeezenet1_0-head": "2: head only",
    "model3": "3: ad hoc",
    "texture": "texture",
}
models = {name: everything[name] for name in approach}

# %%
# The comparison
# --------------
# Three folds by patient. ``check="duplicates"`` would warn of test scans that are
# nearly a training scan of another patient, as where one patient has two ids or a scan
# was exported twice. Here there are none. With ``checkpoint_dir="runs"`` a run that was
# stopped continues.

result = compare_models(
    models, scans.frame, y, scans.patient, cv=3, check="duplicates", random_state=0
)
print(result.to_text())

# %%
# The last line is the one to quote. It compares each model with the best on the
# same draws of patients, and calls it worse only where the interval of the
# difference excludes zero; overlapping intervals in the table do not decide that.

print(result.differences("roc_auc").round(3).to_string())
print(f"{len(result.duplicates)} near repeats")

# %%
# The paper's Figure 4
# --------------------
# F1 over sensitivity; the area of a circle is the time that training takes.

import matplotlib.pyplot as plt

from tbsclassify.plotting import (
    F1SensitivityDisplay,
    RocIntervalDisplay,
    TrainingHistoryDisplay,
)

F1SensitivityDisplay.from_table(result.table.assign(approach=approach))
plt.show()

# %%
# ROC curves come from probabilities, with a band from a bootstrap over patients.

fig, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for ax, name in zip(axes, ["squeezenet1_0-head", "texture"], strict=True):
    RocIntervalDisplay.from_comparison(result, name, ax=ax)
    ax.set_title(name)
plt.show()

# %%
# Three epochs are far too few for this one: the losses have hardly begun to fall.

TrainingHistoryDisplay.from_comparison(result, "model3")
plt.show()

# %%
# Models that win
# ---------------
# Learning from classes for three epochs, the networks stand little chance here.
# ``compare_models("all", scans.frame, y, scans.patient, tbs=scans.tbs)`` adds the
# library's own, which learn the TBS values: see :ref:`which_model`.
#
# Full size
# ---------
# The paper's split of 1469 scans, its epochs and ImageNet weights take
# ``compare_models("paper", scans.frame, y, scans.patient, cv=[(train, test)],
# checkpoint_dir="runs")``. From the seconds per 10 epochs (:ref:`benchmark_speed`),
# that is about 30 hours on two cores, most of them for VGG-16 retrained whole, and a
# quarter of an hour for all heads together.
