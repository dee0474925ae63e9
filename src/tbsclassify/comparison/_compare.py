"""The paper's experiment as a tool: many models, the same scans, one table."""

import numbers
import sys
import time
import warnings
from datetime import timedelta

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._validation import (
    check_groups,
    check_number,
    check_option,
    check_random_seed,
)
from tbsclassify.comparison._fits import (
    THRESHOLD_MEASURES,
    derive_seed,
    plan_trials,
    run_trial,
)
from tbsclassify.comparison._paper import paper_models
from tbsclassify.comparison._result import collect


def compare_models(
    models,
    X,
    y,
    groups=None,
    *,
    cv=5,
    n_repeats=1,
    threshold=0.5,
    pos_label=1,
    check=None,
    n_bootstrap=2000,
    confidence_level=0.95,
    random_state=None,
    n_jobs=None,
    checkpoint_dir=None,
    verbose=0,
):
    """Fit and test models on the same splits and lay the results side by side.

    Parameters
    ----------
    models : dict of str to estimator, or "paper"
        Unfitted classifiers with `predict_proba`, by name. ``"paper"`` takes
        `paper_models`. Where the estimator or the last step of a Pipeline takes
        `groups` in fit, it gets them, so that its own validation set is split
        off by patient, too. Every parameter `random_state` that is None is
        given a seed derived from this function's; set ones are left alone.
    X : array, sequence or DataFrame
        Scans, in a form that all models take. Networks that need crops come in
        a Pipeline with `LumbarCropper`.
    y : array-like of shape (n_scans,)
        Class of each scan.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. None takes each scan for a patient of its own.
    cv : int, splitter or iterable of (train, test), default=5
        An int is the number of folds, stratified by class and split by patient.
        A fixed test set is ``cv=[(train, test)]``, two arrays of indices.
    n_repeats : int, default=1
        How often to cross-validate, with other folds each time; for an int `cv`.
    threshold : float or {"f1", "balanced_accuracy"}, default=0.5
        Probability above which a scan is called positive where there are two
        classes. A measure's name chooses, for every fit, the threshold at which
        that measure is best on out-of-fold predictions of the training part,
        five folds by patient, which makes six fits of one. Scans that are
        tested on are never looked at.
    pos_label : int, str or bool, default=1
        The class that counts as positive, where there are two.
    check : {"permuted", None}, default=None
        ``"permuted"`` runs all models a second time with labels shuffled across
        patients. What still finds them has seen what it is tested on.
    n_bootstrap : int, default=2000
        Number of bootstrap replicates; 0 leaves the intervals out.
    confidence_level : float, default=0.95
        Confidence level of the intervals.
    random_state : int, RandomState or None, default=None
        Seed of folds, models, shuffled labels and bootstrap.
    n_jobs : int, default=None
        Fits that run side by side. Any backend of joblib serves, chosen by
        ``joblib.parallel_config``; on a GPU leave it at one.
    checkpoint_dir : str or path-like, default=None
        Folder in which every finished fit is written at once. Called again with
        the same arguments, a run that was killed goes on where it was; fits
        that failed are tried again. Workers on other machines must see it.
    verbose : int, default=0
        1 shows fits done and the time left in a line on stderr.

    Returns
    -------
    result : ComparisonResult
        Table, predictions, differences, ROC points and training curves.

    Raises
    ------
    ValueError
        If `cv` puts a patient on both sides of a split, or `checkpoint_dir`
        holds a run with other data, models, splits or settings. An error of a
        model is not raised: it stands in the table, and the others go on.

    Warns
    -----
    UserWarning
        If with ``check="permuted"`` the interval of a model's ROC AUC excludes
        0.5. The intervals of all models together have the confidence level, as
        far as bootstrap intervals keep theirs: run a single, narrow miss again
        with another seed before believing it.

    See Also
    --------
    paper_models : The models of the paper.
    tbsclassify.splitting.paper_split : Its test set.

    Notes
    -----
    Predictions of all folds and repeats count as rows of one table; ROC AUC
    compares scans of the same fold only, which one fit has scored. Repeats do
    not narrow the intervals, since patients are drawn with all their rows. The
    intervals are those of the test scans given the fitted models: what another
    training set would change is not in them.

    The same seed gives the same table but for its seconds, whatever `n_jobs`;
    networks agree to the rounding that another number of threads brings.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.datasets import make_classification
    >>> from tbsclassify.comparison import compare_models
    >>> X, y = make_classification(80, random_state=0)
    >>> models = {"logistic": LogisticRegression(), "prior": DummyClassifier()}
    >>> result = compare_models(models, X, y, random_state=0)
    >>> result.table[["tp", "fp", "tn", "fn"]]
              tp  fp  tn  fn
    logistic  32   7  35   6
    prior      0   0  42  38
    >>> bool(result.differences("roc_auc").loc["prior", "differs"])
    True

    The paper's protocol, a fixed test set, on phantoms:

    >>> import numpy as np
    >>> from tbsclassify import TBSLabeler, make_texture_classifier
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.splitting import paper_split
    >>> scans = make_dxa_phantoms(60, random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> train, validation, test = paper_split(y, scans.patient, random_state=0)
    >>> result = compare_models(
    ...     {"texture": make_texture_classifier()},  # models="paper": all fifteen
    ...     scans.frame,
    ...     y,
    ...     scans.patient,
    ...     cv=[(np.concatenate([train, validation]), test)],
    ...     random_state=0,
    ... )
    >>> len(result.predictions) == len(test)
    True
    """
    if isinstance(models, str) and models == "paper":
        models = paper_models()
    _check_models(models)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    check_classification_targets(y)
    check_groups(groups, len(y))
    groups = None if groups is None else column_or_1d(groups)
    classes = np.unique(y)
    _check_protocol(classes, pos_label, threshold, check, n_bootstrap, cv, n_repeats)
    if checkpoint_dir is not None and random_state is None:
        raise ValueError(
            "checkpoint_dir is given, but random_state is None. Give a seed: without "
            "one, a run called again is another run."
        )
    seed = check_random_seed(random_state)
    plan = {"cv": cv, "n_repeats": n_repeats, "seed": seed}
    trials = plan_trials(models, X, y, groups, **plan)
    checkpoint = None
    if checkpoint_dir is not None:
        identity = {
            "data": [X, y, groups],
            "models": list(models.items()),
            "splits": [(trial.train, trial.test) for trial in trials],
            "settings": (seed, threshold, pos_label),
        }
        checkpoint = Checkpoint(checkpoint_dir, identity)
    if check == "permuted":
        trials += plan_trials(models, X, y, groups, permuted=True, **plan)
    outcomes = _run_all(
        trials,
        models,
        checkpoint,
        n_jobs,
        verbose,
        X=X,
        groups=groups,
        classes=classes,
        threshold=threshold,
        pos_label=pos_label,
    )
    bootstrap = {
        "n_bootstrap": n_bootstrap,
        "confidence_level": confidence_level,
        "random_state": derive_seed(seed, "bootstrap"),
    }
    result = collect(outcomes, groups, classes, pos_label, bootstrap)
    _warn_of_leaks(result.control)
    return result


def _run_all(trials, models, checkpoint, n_jobs, verbose, **data):
    """Return the outcome of each trial, run now or kept from before."""
    outcomes = dict.fromkeys(trials)
    if checkpoint is not None:
        outcomes = {trial: checkpoint.read(trial.name) for trial in trials}
    pending = [trial for trial in trials if outcomes[trial] is None]
    found = _Progress(len(pending), verbose, n_jobs=n_jobs, batch_size=1)(
        delayed(run_trial)(trial, models[trial.model], checkpoint=checkpoint, **data)
        for trial in pending
    )
    return outcomes | dict(zip(pending, found, strict=True))


def _warn_of_leaks(control):
    """Warn of models that find labels which were shuffled."""
    if control is None:
        return
    odd = control[(control["roc_auc_low"] > 0.5) | (control["roc_auc_high"] < 0.5)]
    if len(odd):
        found = ", ".join(
            f"{name} ({auc:.2f} [{low:.2f}, {high:.2f}])"
            for name, auc, low, high in odd.iloc[:, :3].itertuples()
        )
        warnings.warn(
            "Labels were shuffled across patients, and yet the ROC AUC is not 0.5 for "
            f"{found}. Something of the test scans reaches these models: look for "
            "state that outlives a fit, and for patients under several names.",
            UserWarning,
            stacklevel=3,
        )


def _check_models(models):
    if not isinstance(models, dict) or not models:
        raise TypeError(
            f"models is of type {type(models).__name__}, but a dict of classifiers by "
            'name, or "paper", is wanted.'
        )
    for name, model in models.items():
        if not isinstance(name, str):
            raise TypeError(f"models has the name {name!r}, but a string is wanted.")
        if not hasattr(model, "fit") or isinstance(model, type):
            raise TypeError(
                f"models[{name!r}] is {model!r}, but a classifier is wanted: an "
                "instance with fit and predict_proba."
            )


def _check_protocol(classes, pos_label, threshold, check, n_bootstrap, cv, n_repeats):
    if len(classes) < 2:
        raise ValueError("y holds one class only, but two or more are wanted.")
    if len(classes) == 2 and pos_label not in classes.tolist():
        raise ValueError(
            f"pos_label={pos_label!r} is not a class of y, whose classes are "
            f"{classes.tolist()}."
        )
    if isinstance(threshold, str):
        check_option(threshold, "threshold", THRESHOLD_MEASURES)
    else:
        check_number(threshold, "threshold")
    if len(classes) > 2 and threshold != 0.5:
        raise ValueError(
            f"threshold={threshold!r}, but y has {len(classes)} classes, of which the "
            "most probable is predicted. Leave threshold out."
        )
    if check is not None:
        check_option(check, "check", ("permuted",))
        check_number(n_bootstrap, "n_bootstrap", low=1, integer=True)
    check_number(n_repeats, "n_repeats", low=1, integer=True)
    if n_repeats > 1 and not isinstance(cv, numbers.Integral):
        raise ValueError(
            f"n_repeats={n_repeats}, but cv is not a number of folds. Give a splitter "
            "that repeats, or an int."
        )


class _Progress(Parallel):
    """Parallel with a line on stderr that says how long it will take yet."""

    def __init__(self, n_fits, visible, **options):
        super().__init__(**options)
        self._n_fits, self._visible = n_fits, visible
        self._began, self._n_shown = time.monotonic(), 0

    def print_progress(self):
        """Write the line anew; joblib calls this after every fit and at the end."""
        done = self.n_completed_tasks
        if not self._visible or done == self._n_shown:
            return
        self._n_shown = done
        left = (time.monotonic() - self._began) / done * (self._n_fits - done)
        end = "\n" if done == self._n_fits else ""
        line = f"\r{done}/{self._n_fits} fits, {timedelta(seconds=round(left))} left"
        print(line, end=end, file=sys.stderr, flush=True)
