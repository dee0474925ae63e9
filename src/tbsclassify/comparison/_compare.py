"""The paper's experiment as a tool: many models, the same scans, one table."""

import numbers
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from os import PathLike
from typing import Any

import numpy as np
from joblib.parallel import get_active_backend
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._scores import check_labels, class_index
from tbsclassify._validation import (
    check_groups,
    check_number,
    check_option,
    check_random_seed,
    patient_ids,
)
from tbsclassify.comparison._control import (
    control_table,
    shuffle_for_each,
    warn_of_findings,
)
from tbsclassify.comparison._fits import (
    THRESHOLD_MEASURES,
    Split,
    Trial,
    derive_seed,
    list_splits,
    plan_trials,
    run_trial,
)
from tbsclassify.comparison._paper import paper_models
from tbsclassify.comparison._result import ComparisonResult, collect
from tbsclassify.metrics._bootstrap import check_bootstrap


def compare_models(
    models: Mapping[str, Any] | str,
    X: Any,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    cv: Any = 5,
    n_repeats: int = 1,
    threshold: float | str = 0.5,
    pos_label: int | str | bool = 1,
    check: str | None = None,
    n_bootstrap: int = 2000,
    confidence_level: float = 0.95,
    random_state: np.random.RandomState | int | None = None,
    n_jobs: int | None = None,
    checkpoint_dir: str | PathLike | None = None,
    verbose: int = 0,
) -> ComparisonResult:
    """Fit and test models on the same splits and put the results in one table.

    Parameters
    ----------
    models : dict of str to estimator, or "paper"
        Unfitted classifiers with `predict_proba`, by name. ``"paper"`` takes
        `paper_models`. Where the estimator or the last step of a Pipeline takes
        `groups` in fit, it gets them, so that its own validation set is split
        off by patient, too; with metadata routing, unless it was told not to by
        ``set_fit_request(groups=False)``. Every parameter `random_state` that is
        None gets a seed derived from this function's; others are left alone.
    X : array, sequence or DataFrame
        Scans, in a form that all models take. Networks that need crops come in
        a Pipeline with `LumbarCropper`.
    y : array-like of shape (n_scans,)
        Class of each scan: int, bool or str, or a column of pandas.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. None takes each scan for a patient of its own.
    cv : int, splitter or iterable of (train, test), default=5
        An int is the number of folds, stratified by class and split by patient.
        A fixed test set is ``cv=[(train, test)]``, two arrays of indices.
    n_repeats : int, default=1
        How often to cross-validate, with other folds each time; for an int `cv`.
    threshold : float or {"f1", "balanced_accuracy"}, default=0.5
        Probability above which a scan is called positive where there are two
        classes. With the name of a measure, every fit has its own threshold,
        the one at which that measure is best on out-of-fold predictions of the
        training set. This takes five more fits, split by patient. Test scans
        are not used.
    pos_label : int, str or bool, default=1
        The class that counts as positive, where there are two.
    check : {"permuted", None}, default=None
        ``"permuted"`` is a negative control: all models are fitted a second time
        on labels shuffled across patients, where none should find anything. See
        Notes.
    n_bootstrap : int, default=2000
        Number of bootstrap replicates; 0 leaves the intervals out.
    confidence_level : float, default=0.95
        Confidence level of the intervals.
    random_state : int, RandomState or None, default=None
        Seed of folds, models, shuffled labels and bootstrap.
    n_jobs : int, default=None
        Number of fits at the same time. Tested with joblib's "loky" (processes,
        the default) and "threading", and with Ray's backend, all chosen by
        ``joblib.parallel_config``. Workers have the caller's scikit-learn
        configuration. On a GPU leave it at one.
    checkpoint_dir : str or path-like, default=None
        Folder in which every finished fit is written at once. Called again with
        the same arguments, a run that was stopped continues; fits that failed
        are tried again. Workers on other machines must see the folder. Needs a
        `random_state`.
    verbose : int, default=0
        1 shows fits done and the time left in a line on stderr. A backend that
        returns all fits together, such as Ray's, shows it at the end only.

    Returns
    -------
    result : ComparisonResult
        Table, predictions, differences, ROC points and training curves.

    Raises
    ------
    ValueError
        Before the first fit: if an argument is out of range, a label is missing,
        `cv` puts a patient on both sides of a split, or `checkpoint_dir` holds a
        run with other data, models, splits or settings. An error of a model is
        not raised: it stands in the table, and the other models are fitted.
    OSError
        If `checkpoint_dir` cannot be written to.

    Warns
    -----
    UserWarning
        If with ``check="permuted"`` a model finds shuffled labels more than
        chance explains. Chance alone gives the warning in about 5 % of
        comparisons (one less `confidence_level`), whatever their number of
        models.

    See Also
    --------
    paper_models : The models of the paper.
    tbsclassify.splitting.paper_split : Its test set.

    Notes
    -----
    Predictions of all folds and repeats count as rows of one table; ROC AUC
    compares scans of the same fold only, whose scores come from one fit. Repeats
    do not narrow the intervals, since patients are drawn with all their rows.
    The intervals are those of the test scans given the fitted models. How much
    results change with another training set is not in them.

    The control finds models that keep something of an earlier fit, such as a
    cache or a network that clones share, where `cv` has two folds or more. Each
    of its fits has its own shuffle. Its scores are compared with the shuffled
    labels of its test scans, and with those that the same scans had in earlier
    fits. The p-value says how often chance takes the area as far from 0.5, by
    shuffling the labels of the test scans again. It cannot find a patient who
    comes under two names, since shuffled labels differ between the two.

    The same seed gives the same table, except for seconds, whatever `n_jobs`.
    Networks agree up to the rounding that another number of threads brings.

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
    models = _check_models(models)
    y = check_labels(y)
    check_consistent_length(X, y)
    check_classification_targets(y)
    groups = None if groups is None else patient_ids(groups, len(y))
    classes = np.unique(y)
    pos_label = _check_classes(classes, pos_label, threshold)
    _check_numbers(n_repeats, cv, check, n_bootstrap, confidence_level, n_jobs)
    seed = check_random_seed(random_state)
    if (
        not isinstance(cv, str)
        and not hasattr(cv, "split")
        and isinstance(cv, Iterable)
    ):
        cv = list(cv)  # an iterator can be listed once, repeats list it again
    splits = list_splits(X, y, groups, cv=cv, n_repeats=n_repeats, seed=seed)
    trials = plan_trials(models, splits, [y] * len(splits), seed=seed)
    patient, _ = check_groups(groups, len(y))
    if check == "permuted":
        shuffled = shuffle_for_each(splits, y, patient, seed)
        trials += plan_trials(models, splits, shuffled, seed=seed, permuted=True)
    checkpoint = None
    if checkpoint_dir is not None:
        data, settings = [X, y, groups], (seed, threshold, pos_label)
        checkpoint = _open_checkpoint(
            checkpoint_dir, random_state, data, models, splits, settings
        )
    outcomes = _run_all(
        trials,
        models,
        X,
        groups,
        classes=classes,
        threshold=threshold,
        pos_label=pos_label,
        checkpoint=checkpoint,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    real = {one: found for one, found in outcomes.items() if not one.permuted}
    bootstrap = {
        "n_bootstrap": n_bootstrap,
        "confidence_level": confidence_level,
        "random_state": derive_seed(seed, "bootstrap"),
    }
    result = collect(real, groups, classes, pos_label, bootstrap)
    if check == "permuted":
        result.control = control_table(
            {one: found for one, found in outcomes.items() if one.permuted},
            y,
            patient,
            classes,
            pos_label,
            confidence_level=confidence_level,
            seed=seed,
        )
        warn_of_findings(result.control, confidence_level)
    return result


def _open_checkpoint(
    folder: str | PathLike,
    random_state: Any,
    data: list,
    models: dict[str, Any],
    splits: list[Split],
    settings: tuple,
) -> Checkpoint:
    """Open the folder of finished fits, if it holds this run or none."""
    if random_state is None:
        raise ValueError(
            "Expected random_state to be a seed where checkpoint_dir is given, got "
            "None. Without a seed, a run called again is another run."
        )
    identity = {
        "data": data,
        "models": list(models.items()),
        "splits": [(split.train, split.test) for split in splits],
        "settings": (*settings, get_config()["enable_metadata_routing"]),
    }
    return Checkpoint(folder, identity)


def _run_all(
    trials: list[Trial],
    models: dict[str, Any],
    X: Any,
    groups: np.ndarray | None,
    *,
    classes: np.ndarray,
    threshold: float | str,
    pos_label: Any,
    checkpoint: Checkpoint | None,
    n_jobs: int | None,
    verbose: int,
) -> dict[Trial, dict[str, Any]]:
    """Return the outcome of each trial, run now or kept from before."""
    outcomes: dict[Trial, Any] = dict.fromkeys(trials)
    if checkpoint is not None:
        outcomes = {trial: checkpoint.read(trial.name) for trial in trials}
    pending = [trial for trial in trials if outcomes[trial] is None]
    # Ray's backend cannot give one result after the other.
    one_by_one = get_active_backend()[0].supports_return_generator
    run = Parallel(
        n_jobs=n_jobs,
        batch_size=1,
        return_as="generator_unordered" if one_by_one else "list",
    )
    finished = run(
        delayed(run_trial)(
            trial,
            models[trial.model],
            X,
            groups,
            classes=classes,
            threshold=threshold,
            pos_label=pos_label,
            checkpoint=checkpoint,
        )
        for trial in pending
    )
    by_name = {trial.name: trial for trial in pending}
    start = time.monotonic()
    for done, (trial, outcome) in enumerate(finished, start=1):
        outcomes[by_name[trial.name]] = outcome  # a process gives back a copy
        if verbose:
            _show_progress(done, len(pending), time.monotonic() - start)
    return outcomes


def _show_progress(done: int, n_fits: int, seconds: float) -> None:
    """Write the line of progress again."""
    left = timedelta(seconds=round(seconds / done * (n_fits - done)))
    end = "\n" if done == n_fits else ""
    line = f"\r{done}/{n_fits} fits, {left} left"
    print(line, end=end, file=sys.stderr, flush=True)


def _check_models(models: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return unfitted clones of the models, by name."""
    if isinstance(models, str) and models == "paper":
        models = paper_models()
    if not isinstance(models, Mapping) or not models:
        raise TypeError(
            'Expected models to be a dict of classifiers by name, or "paper", got '
            f"{models!r} of type {type(models).__name__}."
        )
    for name, model in models.items():
        if not isinstance(name, str):
            raise TypeError(
                f"Expected the names of models to be strings, got {name!r}."
            )
        if not hasattr(model, "fit") or isinstance(model, type):
            raise TypeError(
                f"Expected models[{name!r}] to be a classifier, an instance with fit "
                f"and predict_proba, got {model!r}."
            )
        if not _has_probabilities(model):
            raise TypeError(
                f"Expected models[{name!r}] to have predict_proba, got {model!r}. Wrap "
                "it in CalibratedClassifierCV, or set what makes it give "
                "probabilities."
            )
    return {name: clone(model) for name, model in models.items()}


def _has_probabilities(model: Any) -> bool:
    # An unfitted StackingClassifier hides the method of its default last estimator.
    parts = (
        [model, *model.get_params().values()] if hasattr(model, "get_params") else []
    )
    return hasattr(model, "predict_proba") or any(
        isinstance(part, StackingClassifier) and part.final_estimator is None
        for part in parts
    )


def _check_classes(
    classes: np.ndarray, pos_label: Any, threshold: float | str
) -> int | str | bool:
    """Return the positive class as it stands among the classes."""
    if len(classes) < 2:
        raise ValueError(
            f"Expected y to hold two classes or more, got {classes.tolist()} only."
        )
    if isinstance(threshold, str):
        check_option(threshold, "threshold", THRESHOLD_MEASURES)
    else:
        check_number(threshold, "threshold")
    if len(classes) == 2:
        return classes.tolist()[class_index(pos_label, classes, "pos_label")]
    if threshold != 0.5:
        raise ValueError(
            f"threshold={threshold!r}, but y has {len(classes)} classes, of which the "
            "most probable is predicted. Leave threshold out."
        )
    return pos_label


def _check_numbers(
    n_repeats: int,
    cv: Any,
    check: str | None,
    n_bootstrap: int,
    confidence_level: float,
    n_jobs: int | None,
) -> None:
    if check is not None:
        check_option(check, "check", ("permuted",))
    check_bootstrap(n_bootstrap, confidence_level)
    check_number(n_repeats, "n_repeats", low=1, integer=True)
    if n_repeats > 1 and not isinstance(cv, numbers.Integral):
        raise ValueError(
            f"n_repeats={n_repeats}, but cv is not a number of folds. Give a splitter "
            "that repeats, or an int."
        )
    if n_jobs is not None and check_number(n_jobs, "n_jobs", integer=True) == 0:
        raise ValueError("Expected n_jobs to be an integer other than 0, got 0.")
