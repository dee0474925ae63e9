"""
Which small network does a search find?
=======================================

The paper found its four ad hoc networks (Table II) with Ray Tune, and says no more
about the search. This is such a search: over blocks, filters, fully connected layers,
batch size, learning rate and momentum, where bad trials end after a few epochs. It
takes about two minutes on two cores.

The results are those of phantoms, with small images and few epochs, so that the
example runs quickly.
"""

# %%
# Scans
# -----
# One hundred and fifty phantom patients, a third of whom the search never sees.

from sklearn.model_selection import StratifiedGroupKFold

from tbsclassify import LumbarCropper, TBSLabeler, make_dxa_phantoms

scans = make_dxa_phantoms(150, class_shares=(1, 0, 1), n_jobs=2, random_state=0)
y = TBSLabeler().fit_transform(scans.tbs)
crops = LumbarCropper(size=96, scale="fit").fit_transform(scans.frame)
splitter = StratifiedGroupKFold(3, shuffle=True, random_state=0)
train, test = next(splitter.split(crops, y, scans.patient))

# %%
# The search space
# ----------------
# Each number of blocks needs as many filters, so there are two spaces, of which one is
# drawn first. Domains of Ray, distributions of scipy and lists can be mixed.

from ray import tune

training = {
    "fc": [(100,), (1000,), (500, 100)],
    "batch_size": [12, 24, 48],
    "lr": tune.loguniform(1e-4, 2e-2),
    "momentum": tune.uniform(0.6, 0.95),
}
space = [
    {"blocks": [3], "filters": [(8, 16, 32), (8, 28, 36)], **training},
    {"blocks": [5], "filters": [(8, 16, 32, 64, 128), (8, 16, 32, 32, 32)], **training},
]

# %%
# The search
# ----------
# A trial is the cross-validation of one configuration. After a fifth of the epochs of
# every fold, successive halving (``scheduler="halving"``, the default) compares the
# trials by their scores on the held-out folds, and trains the best quarter to the end.
# Patients stay together in the folds. What the space does not set is as in the paper:
# stochastic gradient descent at a constant rate. Without a running Ray, the search
# starts one and stops it at the end. With ``checkpoint_dir="runs"`` it would keep each
# finished trial, and continue from there when it is called again.

from tbsclassify import RayTuneSearchCV, TBSAdHocClassifier

n_trials, n_folds, max_epochs = 12, 3, 9
search = RayTuneSearchCV(
    TBSAdHocClassifier.from_paper(
        "model1", max_epochs=max_epochs, early_stopping=False, random_state=0
    ),
    space,
    n_trials=n_trials,
    scoring="roc_auc",
    cv=n_folds,
    random_state=0,
)
search.fit(crops[train], y[train], groups=scans.patient[train])
print(search.best_params_)

# %%
# ``cv_results_`` has the columns of scikit-learn's searches, and the status of each
# trial. Only trials that completed all folds have a mean score, and only they are
# ranked: the score of a network after its first epochs cannot be compared with theirs.

import pandas as pd

results = pd.DataFrame(search.cv_results_).sort_values(
    ["rank_test_score", "n_epochs"], ascending=[True, False]
)
columns = ["param_blocks", "param_lr", "status", "n_epochs", "mean_test_score"]
print(results[columns].round(4).to_string())
whole = n_trials * n_folds * max_epochs
print(f"{results.n_epochs.sum()} epochs, of {whole} without ending any trial")

# %%
# Trials over epochs
# ------------------
# Each line is a trial, its score on the first fold by epoch.

import matplotlib.pyplot as plt

first_fold = search.history_.query("fold == 0")
colours = {"complete": "tab:blue", "stopped": "tab:orange"}
fig, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
for trial, epochs in first_fold.groupby("trial"):
    status = search.cv_results_["status"][trial]
    is_best = trial == search.best_index_
    axes[0].plot(
        epochs.epoch,
        epochs.score,
        color=colours[status],
        linewidth=3 if is_best else 1,
        marker="o",
        markersize=3,
    )
    axes[1].scatter(
        search.cv_results_["param_lr"][trial],
        epochs.score.max(),
        color=colours[status],
        s=8 * len(epochs),
    )
axes[0].set(xlabel="Epoch", ylabel="ROC AUC, held-out fold", title="Trials, first fold")
axes[1].set(xscale="log", xlabel="Learning rate", title="Best epoch of the first fold")
for status, colour in colours.items():
    axes[0].plot([], [], color=colour, label=status)
axes[0].legend()
plt.show()

# %%
# What the search is worth
# ------------------------
# ``best_score_`` is the best of several, and therefore too good: the network was chosen
# on the patients that it comes from. The network was not chosen on those held out. A
# baseline that needs no search is scored on them, too.

from tbsclassify import classification_row, format_table, make_texture_classifier

texture = make_texture_classifier().fit(scans.frame.iloc[train], y[train])
scores = {
    "tuned network": search.predict_proba(crops[test])[:, 1],
    "texture (variogram)": texture.predict_proba(scans.frame.iloc[test])[:, 1],
}
rows = {
    name: classification_row(y[test], score, groups=scans.patient[test], random_state=0)
    for name, score in scores.items()
}
print(f"best of the search: ROC AUC {search.best_score_:.2f}")
print(f"{len(test)} phantom patients held out:")
print(format_table(rows, decimals=2).T.to_string())
