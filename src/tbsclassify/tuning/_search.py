"""Hyperparameter search on Ray that ends bad trials by epoch."""

import time
import warnings
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.model_selection import (
    GroupKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.metadata_routing import UNUSED

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._pipelines import fit_metadata
from tbsclassify._sklearn_compat import (
    BaseSearchCV,
    MultimetricScorer,
    check_method_params,
    insert_error_scores,
    num_samples,
    warn_or_raise_about_fit_failures,
)
from tbsclassify._validation import check_groups, check_random_seed
from tbsclassify.tuning._journal import Journal
from tbsclassify.tuning._trial import Task, max_epochs


class RayTuneSearchCV(BaseSearchCV):
    """Search for hyperparameters with Ray Tune, from two cores to a cluster.

    Takes the place of `RandomizedSearchCV`, with any estimator. A trial is one
    configuration, cross-validated fold by fold. Our classifiers, alone or at the end
    of a Pipeline, are scored on the held-out scans after every epoch, so that a
    scheduler ends bad trials after a few epochs of their first fold. Other estimators
    have no epochs that could be seen, and run whole.

    Parameters
    ----------
    estimator : estimator
        What is tuned.
    param_space : dict or list of dicts
        What may be drawn for each parameter, by name
        (``"tbsadhocclassifier__lr"``): a domain of Ray (``tune.loguniform(1e-4,
        1e-1)``), a distribution of scipy, or a list of values, which may be tuples.
        Of a list of dicts, one is drawn first; search algorithms take one dict only.
    n_trials : int, default=10
        Number of configurations to try.
    scheduler : {"asha", "hyperband", "median"}, None or TrialScheduler, \
default="asha"
        What ends trials early. "asha" is asynchronous successive halving: after 3,
        6, 12, ... epochs a trial goes on only if it is among the better half of those
        that got as far. "hyperband" is the same with three brackets, whose trials
        are spared for 3, 6 and 12 epochs. "median" ends trials that after 3 epochs or
        more are below the median of the others' means. None runs all trials whole. A
        scheduler of `ray.tune.schedulers` is copied; its ``time_attr`` may be "epoch",
        and its ``max_t`` must cover all folds.
    search_alg : {"random", "optuna"} or Searcher, default="random"
        What proposes configurations. "random" draws those that
        `RandomizedSearchCV` would. "optuna" needs ``tbsclassify[optuna]``. A searcher
        of `ray.tune.search` is copied; give it neither space nor metric.
    scoring : str, callable, list, tuple or dict, default=None
        As in `RandomizedSearchCV`. Of several measures the one that `refit` names
        steers the search, without a name the first.
    cv : int, splitter or iterable, default=None
        As in `RandomizedSearchCV`. With `groups` in `fit`, a number of folds stands
        for folds that keep groups together.
    refit : bool, str or callable, default=True
        As in `RandomizedSearchCV`: whether to fit the best configuration on all data,
        in this process, and by which measure or rule it is chosen.
    error_score : "raise" or number, default=nan
        Score of a fold that cannot be fitted.
    return_train_score : bool, default=False
        Whether to score the training scans, too.
    time_budget : float, default=None
        Seconds after which the search ends with the trials that are finished.
    resources_per_trial : dict, default=None
        What a trial takes, such as ``{"cpu": 2, "gpu": 0.25}``. By default a core,
        and a GPU where there is one and the classifier uses it. A trial computes with
        as many threads as it has cores.
    storage_path : str or path-like, default=None
        Folder in which every finished trial is written at once.
    resume : bool, default=False
        Whether to go on with the search in `storage_path`, without repeating its
        finished trials. An unfinished trial begins again.
    random_state : int, RandomState or None, default=None
        Seed of what is proposed. The estimator's own seed is a parameter of the
        estimator.
    verbose : int, default=0
        1 shows the search in one line on stderr, 2 lets Ray talk.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        The columns of `RandomizedSearchCV`, a row for each trial that was begun, and
        ``status`` ("complete"; "stopped" by the scheduler; "failed", with a worker
        that died again and again; "unfinished" when time was up) and ``n_epochs``,
        over all folds. Scores of folds that a trial did not finish are NaN, and so is
        its mean: only trials that are complete are ranked.
    history_ : pandas.DataFrame
        A row for each epoch: ``trial`` (row of `cv_results_`), ``fold``, ``epoch``,
        ``score`` and ``seconds`` since the search, or its resumption, began. Empty for
        an estimator without epochs.
    best_params_, best_score_, best_index_, best_estimator_, refit_time_
        As in `RandomizedSearchCV`.
    scorer_, n_splits_, multimetric_
        As in `RandomizedSearchCV`.
    classes_ : ndarray of shape (n_classes,)
        Classes of the best estimator.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where the best estimator has them.

    See Also
    --------
    tbsclassify.compare_models : Compare tuned models on folds that the search has
        not seen.

    Notes
    -----
    A Ray that is initialised, or that the environment variable ``RAY_ADDRESS`` names,
    is used and left running. Otherwise one is started on this machine for the time of
    the search. Data go to Ray's object store once, from which all workers of a machine
    read them; paths stay paths, so that workers elsewhere must see the files.

    Epochs count through the folds: with three folds and 50 epochs, 51 is the first
    epoch of the second fold. A fold that stops early counts as all its epochs.
    ``mean_fit_time`` has the scoring after each epoch in it.

    The score of the best configuration is the best of several, and so too good. To
    know how the tuned model does on other patients, cross-validate the search itself.

    Examples
    --------
    >>> from ray import tune
    >>> from tbsclassify import LumbarCropper, RayTuneSearchCV, TBSAdHocClassifier
    >>> from tbsclassify import TBSLabeler, make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> crops = LumbarCropper(size=64, scale="fit").fit_transform(scans.frame)
    >>> network = TBSAdHocClassifier(2, (4, 8), (16,), max_epochs=3, random_state=0)
    >>> search = RayTuneSearchCV(
    ...     network,
    ...     {"lr": tune.loguniform(1e-4, 1e-1), "filters": [(4, 8), (8, 16)]},
    ...     n_trials=3,
    ...     scoring="roc_auc",
    ...     cv=2,
    ...     random_state=0,
    ... )
    >>> search = search.fit(crops, y, groups=scans.patient)
    >>> sorted(search.best_params_)
    ['filters', 'lr']
    """

    _parameter_constraints: dict = {
        name: constraint
        for name, constraint in BaseSearchCV._parameter_constraints.items()
        if name not in ("n_jobs", "pre_dispatch")
    } | {
        "param_space": [dict, list, tuple],
        "n_trials": [Interval(Integral, 1, None, closed="left")],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "resources_per_trial": [dict, None],
        "resume": ["boolean"],
        "random_state": ["random_state"],
    }

    # To scikit-learn a search routes metadata, it does not take any for itself.
    __metadata_request__fit = {"groups": UNUSED}  # noqa: RUF012

    def __init__(
        self,
        estimator,
        param_space,
        *,
        n_trials=10,
        scheduler="asha",
        search_alg="random",
        scoring=None,
        cv=None,
        refit=True,
        error_score=np.nan,
        return_train_score=False,
        time_budget=None,
        resources_per_trial=None,
        storage_path=None,
        resume=False,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.param_space = param_space
        self.n_trials = n_trials
        self.scheduler = scheduler
        self.search_alg = search_alg
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.error_score = error_score
        self.return_train_score = return_train_score
        self.time_budget = time_budget
        self.resources_per_trial = resources_per_trial
        self.storage_path = storage_path
        self.resume = resume
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, groups=None, **params):
        """Search, and fit the best configuration on all data.

        Parameters
        ----------
        X : array, sequence or DataFrame
            Scans, or whatever the estimator takes.
        y : array-like of shape (n_scans,), default=None
            Class of each scan.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan, by which folds are split. Where the estimator, or
            the last step of a Pipeline, takes `groups` in fit, it gets them, too,
            unless metadata routing is on, which then decides.
        **params : dict
            Further arguments of the estimator's `fit`, with metadata routing also of
            the splitter and the scorer. Those with an entry for each scan are split
            like the scans.

        Returns
        -------
        self : RayTuneSearchCV
            The fitted search.

        Raises
        ------
        ValueError
            If no configuration can be fitted; if `storage_path` holds another search,
            or any and `resume` is False; if a scheduler or search algorithm does not
            suit.
        RuntimeError
            If no trial is complete when time is up.
        """
        scorer, _ = self._get_scorers()
        X, y = indexable(X, y)
        routed = self._route(X, groups, params)
        task = Task(
            estimator=clone(self.estimator),
            X=X,
            y=y,
            splits=self._make_splits(X, y, groups, routed.splitter.split),
            scorer=scorer,
            metric=self.refit if isinstance(self.refit, str) else None,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
            sklearn_config=get_config(),
        )
        several = isinstance(scorer, MultimetricScorer)
        self.scorer_ = scorer._scorers if several else scorer
        records, decode = self._search(task)
        self._collect(records, decode)
        self._choose()
        if self.refit:
            self._refit(task)
        return self

    def _route(self, X, groups, params):
        """Tell arguments of fit, of the splitter and of the scorer apart."""
        params = check_method_params(X, params=params)
        if groups is not None:
            check_groups(groups, num_samples(X))
            params["groups"] = groups
        routed = self._get_routed_params_for_fit(params)
        if not get_config()["enable_metadata_routing"]:
            routed.estimator.fit |= fit_metadata(self.estimator, groups=groups)
        return routed

    def _make_splits(self, X, y, groups, split_params):
        """List the folds; the same for all trials."""
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        if groups is not None and (self.cv is None or isinstance(self.cv, Integral)):
            by_class = isinstance(cv, StratifiedKFold)
            kind = StratifiedGroupKFold if by_class else GroupKFold
            cv = kind(cv.get_n_splits())
            split_params = {"groups": groups}
        self.n_splits_ = cv.get_n_splits(X, y, **split_params)
        splits = list(cv.split(X, y, **split_params))
        if len(splits) != self.n_splits_ or not splits:
            raise ValueError(
                f"cv gave {len(splits)} splits where get_n_splits said "
                f"{self.n_splits_}. Give a splitter that is consistent, or a list of "
                "(train, test)."
            )
        return splits

    def _search(self, task):
        """Run the trials; return their records and what makes parameters of them."""
        # Imported here, since they import Ray.
        from tbsclassify.tuning._ray import run_trials
        from tbsclassify.tuning._schedulers import make_scheduler
        from tbsclassify.tuning._session import quiet
        from tbsclassify.tuning._space import make_proposals

        seed = check_random_seed(self.random_state)
        with quiet(self.verbose):
            proposals = make_proposals(
                self.param_space, self.search_alg, self.n_trials, seed
            )
            longest = max(
                max_epochs(task.configured(parameters))
                for parameters in proposals.candidates or [{}]
            )
            scheduler = make_scheduler(self.scheduler, longest * len(task.splits))
            task = replace(task, decode=proposals.decode)
            journal = Journal(self._open_storage(task, proposals.identity, seed))
            run_trials(
                task,
                proposals,
                scheduler=scheduler,
                resources=self.resources_per_trial,
                time_budget=self.time_budget,
                journal=journal,
                seed=seed,
                verbose=self.verbose,
            )
        records = sorted(journal.records.values(), key=lambda record: record.number)
        return records, proposals.decode

    def _open_storage(self, task, space, seed):
        """Return the folder of finished trials, None where none is wanted."""
        if self.storage_path is None:
            if self.resume:
                raise ValueError(
                    "resume=True, but storage_path is None. Name the folder of the "
                    "search to go on with."
                )
            return None
        if self.random_state is None:
            raise ValueError(
                "storage_path is given, but random_state is None. Give a seed: without "
                "one, a search called again is another search."
            )
        if not self.resume and Path(self.storage_path, "manifest.json").exists():
            raise ValueError(
                f"storage_path={str(self.storage_path)!r} holds a search already. Give "
                "resume=True to go on with it, or another folder."
            )
        identity = {
            "data": [task.X, task.y, task.fit_params],
            "estimator": task.estimator,
            "splits": task.splits,
            "param_space": space,
            "settings": (seed, self.n_trials, _name(self.scoring)),
        }
        return Checkpoint(self.storage_path, identity)

    def _collect(self, records, decode):
        """Make `cv_results_` and `history_` of the records of trials."""
        statuses = [record.status for record in records]
        if not {"complete", "failed"} & set(statuses):
            raise RuntimeError(
                f"No trial was complete within time_budget={self.time_budget} seconds, "
                f"{len(records)} had begun. Give more time, fewer folds or epochs."
            )
        for record in records:
            if record.status == "failed":
                if self.error_score == "raise":
                    raise RuntimeError(record.error)
                crashed = self._fold(self.error_score, record.error)
                record.splits += [crashed] * (self.n_splits_ - len(record.splits))
        finished = [split for record in records for split in record.splits]
        warn_or_raise_about_fit_failures(finished, self.error_score)
        if callable(self.scoring):
            insert_error_scores(finished, self.error_score)
        example = finished[0]["test_scores"]
        self.multimetric_ = isinstance(example, dict)
        nothing = dict.fromkeys(example, np.nan) if self.multimetric_ else np.nan
        for record in records:
            missing = [self._fold(nothing)] * (self.n_splits_ - len(record.splits))
            record.splits += missing
        with warnings.catch_warnings():
            if all(
                np.isfinite(_values(split["test_scores"])).all() for split in finished
            ):
                # Then only folds that nobody finished are not.
                warnings.filterwarnings("ignore", message=".*scores are non-finite")
            self.cv_results_ = self._format_results(
                [decode(record.config) for record in records],
                self.n_splits_,
                [split for record in records for split in record.splits],
            )
        self.cv_results_ |= {
            "status": np.array(statuses),
            "n_epochs": np.array([record.n_epochs for record in records]),
        }
        rows = [
            (trial, *row)
            for trial, record in enumerate(records)
            for row in record.history
        ]
        columns = ["trial", "fold", "epoch", "score", "seconds"]
        self.history_ = pd.DataFrame(rows, columns=columns)

    def _fold(self, scores, error=None):
        """Make what scikit-learn's result of a fold is, for one without a result."""
        if isinstance(self.scorer_, dict) and not isinstance(scores, dict):
            scores = dict.fromkeys(self.scorer_, scores)
        fold = {
            "fit_error": error,
            "test_scores": scores,
            "n_test_samples": 0,
            "fit_time": np.nan,
            "score_time": np.nan,
        }
        return fold | {"train_scores": scores} if self.return_train_score else fold

    def _choose(self):
        """Choose the best configuration."""
        results, metric = self.cv_results_, "score"
        if self.multimetric_:
            names = [name.split("_", 2)[2] for name in results if "mean_test_" in name]
            self._check_refit_for_multimetric(names)
            metric = self.refit
        if self.multimetric_ and not self.refit:
            return
        self.best_index_ = self._select_best_index(self.refit, metric, results)
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _refit(self, task):
        """Fit the best configuration on all data."""
        self.best_estimator_ = task.configured(self.best_params_)
        began = time.time()
        if task.y is None:
            self.best_estimator_.fit(task.X, **task.fit_params)
        else:
            self.best_estimator_.fit(task.X, task.y, **task.fit_params)
        self.refit_time_ = time.time() - began
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


def _values(scores):
    """Return the values of one score or of several."""
    return list(scores.values()) if isinstance(scores, dict) else [scores]


def _name(scoring):
    """Return what stays the same of `scoring` from one process to the next."""
    if callable(scoring):
        return getattr(scoring, "__qualname__", type(scoring).__qualname__)
    return scoring if isinstance(scoring, str) or scoring is None else list(scoring)
