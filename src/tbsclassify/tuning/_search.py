"""Hyperparameter search on Ray that ends bad trials by epoch."""

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import UNUSED

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._fingerprint import fingerprint
from tbsclassify._pipelines import fit_metadata, keep_training, last_step_prefix
from tbsclassify._sklearn_compat import (
    BaseSearchCV,
    check_method_params,
    num_samples,
    scorers_by_name,
    warn_or_raise_about_fit_failures,
)
from tbsclassify._validation import check_groups, check_random_seed
from tbsclassify.labels import check_tbs
from tbsclassify.splitting import list_folds
from tbsclassify.tuning._journal import Journal, TrialRecord
from tbsclassify.tuning._outcome import (
    all_folds,
    are_finite,
    check_any_finished,
    check_any_ranked,
    complete_failed,
    finished_folds,
    history_table,
    tell_score_errors,
)
from tbsclassify.tuning._parameters import check_fit_params, check_parameters
from tbsclassify.tuning._trial import Task, max_epochs

if TYPE_CHECKING:
    from tbsclassify.tuning._space import Proposals

# Settings of scikit-learn that change the display, not the results.
_COSMETIC = ("display", "print_changed_only")


class RayTuneSearchCV(BaseSearchCV):
    """Search for hyperparameters with Ray Tune, from two cores to a cluster.

    It is used like `RandomizedSearchCV`, with any estimator. A trial is one
    configuration, cross-validated fold by fold. Our classifiers, alone or at the end
    of a Pipeline, are scored on the held-out scans after every epoch, so that bad
    trials end after a few epochs of each fold. Other estimators show no epochs, so
    their trials always run to the end.

    Parameters
    ----------
    estimator : estimator
        The estimator to tune.
    param_space : dict or list of dicts
        Values of each parameter, by name (``"tbsadhocclassifier__lr"``): a domain of
        Ray (``tune.loguniform(1e-4, 1e-1)``), a distribution of scipy, or a list of
        values, which may be tuples. From a list of dicts, one is drawn first; search
        algorithms take one dict only.
    n_trials : int, default=10
        Number of configurations to try.
    scheduler : {"halving", "asha", "hyperband", "median"}, None or TrialScheduler, \
default="halving"
        The scheduler that ends trials early. "halving" first trains every fold for a
        fifth of its epochs. The quarter of the trials with the best mean over the folds
        is trained to the end. The others pause for as long as they may still rank in
        that quarter; with a `search_alg`, which learns from ended trials, they end at
        once. All other schedulers see the folds one after another. "asha" is Ray's
        asynchronous successive halving: after 3, 6, 12, ... epochs a trial is promoted
        only if it is in the better half of those with as many epochs. "hyperband" is
        the same with three brackets, whose trials run for at least 3, 6 and 12 epochs.
        "median" ends trials that after 3 epochs or more are below the median of the
        means of other trials. None ends no trial early. A scheduler of
        `ray.tune.schedulers` is copied; its ``time_attr`` may be "epoch", and its
        ``max_t`` must cover all folds.
    search_alg : {"random", "optuna"} or Searcher, default="random"
        The algorithm that proposes configurations. "random" draws those that
        `RandomizedSearchCV` would. "optuna" needs ``tbsclassify[optuna]``. A searcher
        of `ray.tune.search` is copied; give it neither space nor metric.
    scoring : str, callable, list, tuple or dict, default=None
        As in `RandomizedSearchCV`. Of several measures, the one that `refit` names
        decides which trials are ended early; without a name, the first. A scorer gets
        the whole estimator after each epoch, as it does at the end.
    cv : int, splitter or iterable, default=None
        As in `RandomizedSearchCV`. With `groups` in `fit`, a number of folds means
        folds that keep groups together, and other splits must keep them together, too.
    refit : bool, str or callable, default=True
        As in `RandomizedSearchCV`: whether to fit the best configuration on all data,
        in this process, and by which measure or rule it is chosen.
    error_score : "raise" or number, default=nan
        Score of a fold that cannot be fitted or scored. A warning says why. If all
        folds fail, it is an error.
    return_train_score : bool, default=False
        Whether to score the training scans, too.
    time_budget : float, default=None
        Seconds after which the search ends with the trials that are finished.
    stop_score : float, default=None
        Score that is good enough: the search ends with the first complete trial whose
        mean over the folds is as high. Of several measures, it is the one that decides
        which trials are ended early.
    resources_per_trial : dict, default=None
        Resources of a trial on one machine, such as ``{"cpu": 2, "gpu": 0.25}``; other
        names are custom resources of Ray. The default is a core, and a GPU if there is
        one and the classifier uses it. A trial computes with as many threads as it has
        cores.
    checkpoint_dir : str or path-like, default=None
        Folder in which every finished trial is written at once. If it holds the same
        search, that search is resumed: finished trials are not repeated, and unfinished
        ones continue from the last epoch in the folder, or start again if `search_alg`
        proposes them or a step without a seed draws random numbers. A search is the
        same if everything that its results depend on is equal: the data, the estimator,
        the arguments here, settings of scikit-learn and versions of libraries.
    random_state : int, RandomState or None, default=None
        Seed of the proposed configurations. The estimator's own seed is a parameter
        of the estimator.
    verbose : int, default=0
        1 shows trials done, the best score and the time left on stderr: in one line of
        a terminal or notebook, in some twenty lines of a file. 2 shows Ray's own
        messages in its place.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        The columns of `RandomizedSearchCV`, with a row for each trial that began, and
        two more: ``status`` ("complete"; "stopped" by the scheduler; "failed", where
        the worker died again and again; "unfinished" when time was up or `stop_score`
        was reached) and ``n_epochs``, over all folds. Scores of folds that a trial did
        not finish are NaN, and so is its mean: only complete trials are ranked.
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
    is used and left running. Otherwise the search starts Ray on this machine and stops
    it at the end. Data go to Ray's object store once, from which all workers of a
    machine read them. Paths stay paths, so workers on other machines must find the
    files.

    For Ray's schedulers epochs count through the folds: with three folds and 50
    epochs, 51 is the first epoch of the second fold. A fold that stops early counts as
    all its epochs. With "halving", a paused fold continues from a file in
    `checkpoint_dir` or a temporary folder, which needs room for the networks of all
    paused trials. On another machine that does not share the folder it starts again,
    with the same result. All steps of a Pipeline are fitted twice. If a training
    cannot be kept, as behind a step without a seed that draws random numbers, no trial
    is ended early.

    ``mean_fit_time`` includes the scoring after each epoch, and is that of the last
    part of a fold that was trained in parts. Scoring runs all steps of a
    Pipeline on the held-out scans; where that takes long, transform the scans before
    the search if the steps learn nothing from them.

    The score of the best configuration is the highest of several, and therefore too
    good. To estimate how the tuned model does on other patients, cross-validate the
    search itself.

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

    # For scikit-learn, a search routes metadata to others and takes none itself.
    __metadata_request__fit = {"groups": UNUSED, "tbs": UNUSED}  # noqa: RUF012

    # `_get_scorers`, `_get_routed_params_for_fit`, `_format_results`,
    # `_select_best_index` and `_check_refit_for_multimetric` are private methods of
    # BaseSearchCV. tests/test_sklearn_compat.py fails if a release changes them.

    def __init__(
        self,
        estimator: Any,
        param_space: dict[str, Any] | list[dict[str, Any]],
        *,
        n_trials: int = 10,
        scheduler: Any = "halving",
        search_alg: Any = "random",
        scoring: Any = None,
        cv: Any = None,
        refit: bool | str | Callable = True,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        time_budget: float | None = None,
        stop_score: float | None = None,
        resources_per_trial: dict[str, float] | None = None,
        checkpoint_dir: str | os.PathLike | None = None,
        random_state: np.random.RandomState | int | None = None,
        verbose: int = 0,
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
        self.stop_score = stop_score
        self.resources_per_trial = resources_per_trial
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: ArrayLike | None = None,
        tbs: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Search, and fit the best configuration on all data.

        Parameters
        ----------
        X : array, sequence or DataFrame
            Scans, or whatever the estimator takes.
        y : array-like of shape (n_scans,), default=None
            Class of each scan.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan. No fold may have a patient on both sides. If the
            estimator, or the last step of a Pipeline, takes `groups` in fit, it gets
            them, too, unless metadata routing is on, which then decides.
        tbs : array-like of shape (n_scans,), default=None
            TBS value of each scan, for the estimator or the last step of a Pipeline.
            Every fit gets the values of its own training scans, the last fit all of
            them. ``fit(X, y, clf__tbs=tbs)`` does the same for a step ``clf``, as in
            scikit-learn's searches. With metadata routing, the step must have asked
            for them by ``set_fit_request(tbs=True)``.
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
        TypeError, ValueError
            Before anything is fitted: if an argument is not what it should be, the
            estimator lacks a parameter of `param_space`, or takes no `tbs` where that
            is given, a patient is on both sides of a fold, no machine has
            `resources_per_trial`, or `checkpoint_dir` holds another search.
            Afterwards: if no configuration could be fitted or scored.
        OSError
            If `checkpoint_dir` cannot be written to.
        RuntimeError
            If no trial is complete when time is up.
        """
        check_parameters(self)
        X, y = indexable(X, y)
        task = self._make_task(X, y, groups, tbs, params)
        self.n_splits_ = len(task.splits)
        self.scorer_ = scorers_by_name(task.scorer) or task.scorer
        records, task = self._search(task)
        self._collect(task, records)
        self._choose()
        if self.refit:
            self._refit(task)
        return self

    def _make_task(
        self, X: Any, y: Any, groups: Any, tbs: Any, params: dict[str, Any]
    ) -> Task:
        """Gather what all trials have in common."""
        scorer, _ = self._get_scorers()
        routed = self._route(X, groups, tbs, params)
        splits = list_folds(
            self.cv,
            X,
            y,
            groups,
            classifier=is_classifier(self.estimator),
            split_params=routed.splitter.split,
        )
        return Task(
            estimator=clone(self.estimator),
            X=X,
            y=y,
            splits=splits,
            scorer=scorer,
            metric=self.refit if isinstance(self.refit, str) else None,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
            sklearn_config=get_config(),
        )

    def _route(self, X: Any, groups: Any, tbs: Any, params: dict[str, Any]) -> Any:
        """Separate arguments of fit, of the splitter and of the scorer."""
        params = check_method_params(X, params=params)
        if groups is not None:
            check_groups(groups, num_samples(X))
        if tbs is not None:
            tbs = check_tbs(tbs, num_samples(X))
        if get_config()["enable_metadata_routing"]:
            # Groups that are not requested still decide how `list_folds` splits.
            requested = self.get_metadata_routing().consumes("fit", ["groups"])
            given = {"groups": groups if requested else None, "tbs": tbs}
            params |= {name: one for name, one in given.items() if one is not None}
            return self._get_routed_params_for_fit(params)
        check_fit_params(self.estimator, params, tbs)
        if groups is not None:
            params["groups"] = groups
        routed = self._get_routed_params_for_fit(params)
        routed.estimator.fit |= fit_metadata(self.estimator, groups=groups, tbs=tbs)
        return routed

    def _search(self, task: Task) -> tuple[list[TrialRecord], Task]:
        """Run the trials, and return their records and the completed task."""
        # Imported here because they import Ray.
        from tbsclassify.tuning._ray import run_trials
        from tbsclassify.tuning._session import quiet

        seed = check_random_seed(self.random_state)
        with quiet(self.verbose):
            task, proposals, scheduler = self._plan(task, seed)
            journal = Journal(task.checkpoint)
            run_trials(
                task,
                proposals,
                scheduler=scheduler,
                resources=self.resources_per_trial,
                time_budget=self.time_budget,
                stop_score=self.stop_score,
                journal=journal,
                seed=seed,
                verbose=self.verbose,
            )
        records = sorted(journal.records.values(), key=lambda record: record.number)
        return records, task

    def _plan(self, task: Task, seed: int) -> tuple[Task, "Proposals", Any]:
        """Choose configurations and a scheduler, and complete the task."""
        # Imported here because they import Ray.
        from tbsclassify.tuning._halving import Halving, rungs_of
        from tbsclassify.tuning._schedulers import make_scheduler
        from tbsclassify.tuning._space import check_names, make_proposals

        proposals = make_proposals(
            self.param_space, self.search_alg, self.n_trials, seed
        )
        check_names(task.estimator, proposals.candidates)
        longest = max(max_epochs(task.configured(p)) for p in proposals.candidates)
        rungs = rungs_of(longest)
        halving = Halving(
            proposals.n_trials, len(rungs), waits=proposals.search_alg is None
        )
        scheduler = make_scheduler(self.scheduler, longest * len(task.splits), halving)
        task = replace(
            task,
            decode=proposals.decode,
            checkpoint=self._open_checkpoint(task, proposals, seed),
            rungs=rungs if isinstance(scheduler, Halving) else (),
        )
        return task, proposals, scheduler

    def _open_checkpoint(
        self, task: Task, proposals: "Proposals", seed: int
    ) -> Checkpoint | None:
        """Return the folder of finished trials, None without `checkpoint_dir`."""
        if self.checkpoint_dir is None:
            return None
        import ray

        config = task.sklearn_config.items()
        # By name, so that an error can say what differs.
        identity = {
            "X": task.X,
            "y": task.y,
            "fit_params": task.fit_params,
            "score_params": task.score_params,
            "estimator": task.estimator,
            "splits of cv": task.splits,
            "param_space": proposals.identity,
            "n_trials": self.n_trials,
            "scheduler": self.scheduler,
            "search_alg": self.search_alg,
            "scoring": self.scoring,
            "measure of refit": task.metric,
            "error_score": self.error_score,
            "return_train_score": bool(self.return_train_score),
            "random_state": seed,
            "configuration of scikit-learn": {
                name: value for name, value in config if name not in _COSMETIC
            },
            "version of ray": ray.__version__,
        }
        return Checkpoint(self.checkpoint_dir, identity)

    def _collect(self, task: Task, records: list[TrialRecord]) -> None:
        """Make `cv_results_` and `history_` from the records of trials."""
        check_any_finished(records, self.time_budget)
        complete_failed(records, task)
        finished = finished_folds(records, task)
        warn_or_raise_about_fit_failures(finished, self.error_score)
        tell_score_errors(finished, task)
        self.multimetric_ = isinstance(finished[0]["test_scores"], dict)
        with warnings.catch_warnings():
            if are_finite(finished):
                # Then NaN means only that a fold was not finished.
                warnings.filterwarnings("ignore", message=".*scores are non-finite")
            self.cv_results_ = self._format_results(
                [task.decode(record.config) for record in records],
                self.n_splits_,
                all_folds(records, task),
            )
        self.cv_results_ |= {
            "status": np.array([record.status for record in records]),
            "n_epochs": np.array([record.n_epochs for record in records]),
        }
        self.history_ = history_table(records)

    def _choose(self) -> None:
        """Choose the best configuration, if one measure decides."""
        results: dict[str, Any] = self.cv_results_
        metric: Any = "score"
        if self.multimetric_:
            names = [name.split("_", 2)[2] for name in results if "mean_test_" in name]
            self._check_refit_for_multimetric(names)
            metric = self.refit
        if self.multimetric_ and not self.refit:
            return
        if not callable(self.refit):
            check_any_ranked(results[f"mean_test_{metric}"], metric)
        self.best_index_ = self._select_best_index(self.refit, metric, results)
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _refit(self, task: Task) -> None:
        """Fit the best configuration on all data."""
        self.best_estimator_ = task.configured(self.best_params_)
        kept = False
        if task.checkpoint is not None:
            name = fingerprint(self.best_params_)[:12]
            file = task.checkpoint.training_file("refit", name)
            kept = keep_training(self.best_estimator_, file)
        began = time.time()
        if task.y is None:
            self.best_estimator_.fit(task.X, **task.fit_params)
        else:
            self.best_estimator_.fit(task.X, task.y, **task.fit_params)
        self.refit_time_ = time.time() - began
        if kept:  # later fits must not use this file
            prefix = last_step_prefix(self.best_estimator_)
            self.best_estimator_.set_params(**{f"{prefix}checkpoint": None})
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def __sklearn_is_fitted__(self) -> bool:
        # Some attributes are set before the trials, which may fail.
        return hasattr(self, "cv_results_")
