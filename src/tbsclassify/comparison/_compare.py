"""The paper's experiment as a tool: many models, the same scans, one table."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.utils import check_consistent_length

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._scores import check_targets
from tbsclassify._validation import check_groups, check_random_seed, patient_ids
from tbsclassify.comparison._checks import (
    check_models,
    check_numbers,
    check_positive,
    list_checks,
)
from tbsclassify.comparison._control import (
    control_table,
    shuffle_for_each,
    warn_of_findings,
)
from tbsclassify.comparison._duplicates import find_duplicates
from tbsclassify.comparison._fits import Target, derive_seed, list_splits, plan_trials
from tbsclassify.comparison._result import ComparisonResult, collect
from tbsclassify.comparison._run import run_all
from tbsclassify.labels import check_tbs


def compare_models(
    models: Mapping[str, Any] | str,
    X: Any,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    tbs: ArrayLike | None = None,
    cv: Any = 5,
    n_repeats: int = 1,
    threshold: float | str = 0.5,
    pos_label: int | str | bool = 1,
    check: str | Sequence[str] | None = None,
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
    models : dict of str to estimator, "paper", "radiomics" or "all"
        Unfitted classifiers with `predict_proba`, by name. ``"paper"`` means
        `paper_models`, ``"radiomics"`` `radiomics_models` and ``"all"`` `all_models`.
        If X is a table with any of the columns age, bmi, bmd and sex, these also have
        ``"clinical"``, `make_clinical_baseline`, which sees no image. An estimator, or
        the last step of a Pipeline, whose `fit` takes `groups` gets them, so that its
        own validation set is also split off by patient, unless it has declined them by
        ``set_fit_request(groups=False)``. Every parameter `random_state` that is None
        gets a seed derived from that of this function; others are left alone.
    X : array, sequence or DataFrame
        Scans, in a form that all models take. Networks that need crops come in
        a Pipeline with `LumbarCropper`.
    y : array-like of shape (n_scans,)
        Class of each scan: int, bool or str, or a column of pandas.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. With None, each scan is a patient of its own.
    tbs : array-like of shape (n_scans,), default=None
        TBS value of each scan. Every model whose fit takes `tbs` gets the values of its
        training scans: the estimator, the last step of a Pipeline, or the same inside a
        search or `CalibratedClassifierCV`, unless it has declined them by
        ``set_fit_request(tbs=False)``, as `paper_models` have. All other models learn
        the classes. No model gets values of test scans. See Notes.
    cv : int, splitter or iterable of (train, test), default=5
        An int is the number of folds, stratified by class and split by patient.
        A fixed test set is ``cv=[(train, test)]``, two arrays of indices.
    n_repeats : int, default=1
        How often to cross-validate, with other folds each time; for an int `cv`.
    threshold : float or {"f1", "balanced_accuracy"}, default=0.5
        Probability above which a scan counts as positive, for two classes. With the
        name of a measure, every fit has its own threshold, at which that measure is
        best on out-of-fold predictions of the training set. This takes five more fits,
        split by patient. Test scans are not used.
    pos_label : int, str or bool, default=1
        The class that counts as positive, where there are two.
    check : {"permuted", "duplicates"}, a sequence of these or None, default=None
        ``"permuted"`` is a negative control: all models are fitted a second time on
        labels shuffled across patients, in which none should find anything.
        ``"duplicates"`` looks for test rows that nearly repeat a training row of
        another patient; it fits nothing. See Notes.
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
        Folder in which every finished fit is written at once, and the training of
        this library's networks after their epochs. If a run was stopped, the same call
        continues it, also in the middle of a training; failed fits are tried again.
        The seconds of a continued fit are those of its epochs. Workers on other
        machines must see the folder. Needs a `random_state`.
    verbose : int, default=0
        1 shows fits done and the time left on stderr: in one line of a terminal or
        notebook, in some twenty lines of a file. A backend that returns all fits
        together, such as Ray's, shows it at the end only.

    Returns
    -------
    result : ComparisonResult
        Table, predictions, differences, ROC points and training curves.

    Raises
    ------
    ValueError
        Before the first fit: if an argument is out of range, a label is missing,
        `cv` puts a patient on both sides of a split, the initial weights of a network
        are neither there nor can be downloaded, or do not fit it, `checkpoint_dir`
        holds a run with other data, models, splits or settings, or
        ``check="duplicates"`` has fewer than 12 patients in a training set. An error of
        a model in a fit is not raised: it stands in the table, and the other models are
        fitted.
    OSError
        If `checkpoint_dir` cannot be written to.

    Warns
    -----
    UserWarning
        At the first fit of a model that fails. If with ``check="permuted"`` a model
        finds shuffled labels more than chance explains. Chance alone gives the warning
        in about 5 % of comparisons (one less `confidence_level`), whatever their number
        of models. If with ``check="duplicates"`` test rows nearly repeat training
        rows of other patients, before the first fit. Among independent rows
        chance gives the warning in at most 5 %.

    See Also
    --------
    paper_models : The models of the paper.
    radiomics_models : Those of the group's second paper.
    all_models : These and the library's own.
    tbsclassify.splitting.paper_split : Its test set.
    tbsclassify.RayTuneSearchCV : Tunes a model, which can then be compared.
    tbsclassify.plotting.F1SensitivityDisplay : The result as the paper's Figure 4.
    ComparisonResult : What it returns.

    Notes
    -----
    Predictions of all folds and repeats count as rows of one table; ROC AUC
    compares scans of the same fold only, whose scores come from one fit. Repeats
    do not narrow the intervals, since patients are drawn with all their rows.
    The intervals are those of the test scans given the fitted models. How much
    results change with another training set is not in them.

    To see how much the values help, compare a model with a copy that declines them.
    scikit-learn lets you do so if metadata routing is enabled::

        with sklearn.config_context(enable_metadata_routing=True):
            classes_only = TBSAdHocClassifier().set_fit_request(tbs=False)

    In imbalanced-learn's Pipeline a sampler such as `AugmentationSampler` changes
    the scans and not their values, so that a network after it cannot be fitted
    with `tbs`. Set the network's own `augmentation` instead.

    The control finds models that keep something of an earlier fit, such as a
    cache or a network that clones share, where `cv` has two folds or more. Each
    of its fits has its own shuffle, in which values go with the classes. Its
    scores are compared with the shuffled labels of its test scans, and with those
    that the same scans had in earlier fits. The p-value says how often chance
    takes the area as far from 0.5, by shuffling the labels of the test scans
    again. It cannot find a patient who comes under two names, since shuffled
    labels differ between the two, nor rows that were resampled before the split.

    The check of duplicates finds these. It compares the distance from a test row to
    the nearest training patient with that to the tenth nearest, in the scale in
    which distances grow from there to the fortieth [1]_ [2]_; what counts as near so
    follows from the data, and false alarms are limited over all rows [3]_. It finds
    rows resampled before the split, as by SMOTE, also where each lies between two
    others; rows and scans that are there twice; and scans exported again with
    other contrast, depth, size or compression. Of tables, columns are compared by
    their ranks, without ids and, where others have more, without columns of fewer
    than 10 values; of tables with a column ``image``, the images; of images,
    thumbnails of 16 x 16 pixels, of L1-L4 where no box of the table is
    missing. It misses repeats that differ as much as patients do: scans that were
    shifted far, rotated or mirrored, many of a patient who was placed anew, most
    rows that were resampled from closely related features, such as variograms, and
    rows of few or coarse columns, such as age and sex, where chance makes equals.
    Rows of the same test fold are not compared; more folds leave out fewer pairs.
    It takes patients for repeats who come in small bunches far from all others.

    The same seed gives the same table, except for seconds, whatever `n_jobs`.
    Networks agree up to the rounding that another number of threads brings.

    References
    ----------
    .. [1] A. Renyi, "On the theory of order statistics", Acta Mathematica Academiae
       Scientiarum Hungaricae 4, 1953, 191-231.
    .. [2] E. Facco, M. d'Errico, A. Rodriguez and A. Laio, "Estimating the intrinsic
       dimension of datasets by a minimal neighborhood information", Scientific
       Reports 7, 2017, 12140.
    .. [3] Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate",
       Journal of the Royal Statistical Society B 57, 1995, 289-300.

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
    ...     {"texture": make_texture_classifier()},  # or models="all"
    ...     scans.frame,
    ...     y,
    ...     scans.patient,
    ...     cv=[(np.concatenate([train, validation]), test)],
    ...     random_state=0,
    ... )
    >>> len(result.predictions) == len(test)
    True
    """
    models = check_models(models, X)
    y = check_targets(y)
    check_consistent_length(X, y)
    groups = None if groups is None else patient_ids(groups, len(y))
    target = Target(y, None if tbs is None else check_tbs(tbs, len(y)))
    classes = np.unique(y)
    pos_label = check_positive(classes, pos_label, threshold)
    checks = list_checks(check)
    check_numbers(n_repeats, cv, n_bootstrap, confidence_level, n_jobs)
    seed = check_random_seed(random_state)
    splits = list_splits(X, y, groups, cv=cv, n_repeats=n_repeats, seed=seed)
    trials = plan_trials(models, splits, [target] * len(splits), seed=seed)
    patient, _ = check_groups(groups, len(y))
    if "permuted" in checks:
        shuffled = shuffle_for_each(splits, target, patient, seed)
        trials += plan_trials(models, splits, shuffled, seed=seed, permuted=True)
    checkpoint = _open_checkpoint(
        checkpoint_dir,
        random_state,
        data=[X, y, groups, target.tbs],
        models=models,
        splits=[(split.train, split.test) for split in splits],
        settings=(seed, threshold, pos_label, get_config()["enable_metadata_routing"]),
    )
    duplicates = None
    if "duplicates" in checks:
        duplicates = find_duplicates(
            X,
            splits,
            patient,
            groups,
            confidence_level=confidence_level,
            seed=derive_seed(seed, "duplicates"),
        )
    outcomes = run_all(
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
    bootstrap = {
        "n_bootstrap": n_bootstrap,
        "confidence_level": confidence_level,
        "random_state": derive_seed(seed, "bootstrap"),
    }
    result = collect(outcomes, groups, classes, pos_label, bootstrap)
    result.duplicates = duplicates
    if "permuted" in checks:
        result.control = control_table(
            outcomes,
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
    folder: str | PathLike | None, random_state: Any, **identity: Any
) -> Checkpoint | None:
    """Open the folder of finished fits, which must hold this run or none."""
    if folder is None:
        return None
    if random_state is None:
        raise ValueError(
            "Expected random_state to be a seed where checkpoint_dir is given, got "
            "None. Without a seed, a run called again is another run."
        )
    return Checkpoint(folder, identity)
