"""Trials that wait: the rungs of a trial, and the scheduler, without Ray running."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
from conftest import small_adhoc
from ray.tune.experiment import Trial
from sklearn.metrics import check_scoring
from sklearn.model_selection import StratifiedKFold

from tbsclassify import RayTuneSearchCV
from tbsclassify.tuning._halving import Halving, rungs_of
from tbsclassify.tuning._trial import Task, evaluate


def reports_of(spines, *, place=None, report=None, **options):
    """Run one trial of three epochs a fold and return what it reports."""
    model = small_adhoc(max_epochs=3, early_stopping=False)
    defaults = {"scorer": check_scoring(model, "roc_auc"), "error_score": "raise"}
    task = Task(
        estimator=model,
        X=spines.X,
        y=spines.y,
        splits=list(StratifiedKFold(2).split(spines.X, spines.y)),
        metric=None,
        fit_params={},
        score_params={},
        return_train_score=False,
        sklearn_config=sklearn.get_config(),
        **defaults | options,
    )
    reports = []

    def note(told):
        reports.append(copy.deepcopy(told))
        if report is not None:
            report(told)

    # Rates from scipy are NumPy's.
    evaluate(task, {"lr": np.float64(0.01)}, note, place)
    return reports


def rows_of(reports):
    return [tuple(row) for told in reports for row in told["rows"]]


@pytest.fixture(scope="module")
def whole(spines):
    """Return the reports of a trial whose folds are fitted one after another."""
    return reports_of(spines)


def test_folds_that_rest_come_to_the_same_scores(spines, whole):
    parts = reports_of(spines, rungs=(1, 2))
    assert [row[:2] for row in rows_of(parts)] == [
        (fold, epoch) for epoch in (1, 2, 3) for fold in (0, 1)
    ]
    assert sorted(rows_of(parts)) == sorted(rows_of(whole))
    assert parts[-1]["score"] == whole[-1]["score"]
    assert [told["rung"] for told in parts if "rung" in told] == [0, 1]


def test_what_is_compared_is_the_mean_over_all_folds(spines, whole):
    (score,) = [
        told["score"] for told in reports_of(spines, rungs=(2,)) if "rung" in told
    ]
    scores = [value for _, epoch, value in rows_of(whole) if epoch == 2]
    assert score == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("n_reports", [1, 4, 5])
def test_a_trial_that_was_paused_goes_on_and_trains_no_epoch_twice(
    n_reports, spines, whole, tmp_path
):
    class PauseError(Exception):
        pass

    left = iter(range(n_reports))

    def pause(told):
        if next(left, None) is None:
            raise PauseError

    with pytest.raises(PauseError):
        reports_of(spines, rungs=(2,), place=tmp_path.joinpath, report=pause)
    after = reports_of(spines, rungs=(2,), place=tmp_path.joinpath)
    assert sorted(rows_of(after)) == sorted(rows_of(whole))
    assert after[-1]["n_epochs"] == 6
    assert after[-1]["score"] == whole[-1]["score"]
    assert len(after) == 7


def test_scores_that_are_nan_are_not_compared(spines):
    told = reports_of(spines, rungs=(1,), scorer=lambda *args: np.nan)
    assert not any("rung" in one for one in told)
    assert told[-1]["complete"]


def test_a_score_to_stop_at_is_a_number(spines):
    search = RayTuneSearchCV(small_adhoc(), {"lr": [0.1]}, stop_score="high")
    with pytest.raises(TypeError, match=r"stop_score .*, got 'high'"):
        search.fit(spines.X, spines.y)


# The scheduler


def run_trials(scores, *, n_workers=2, n_rungs=1, fails=(), waits=True, seed=0):
    """Run trials as Ray does; return those that were complete, and all that began."""
    scheduler = Halving(len(scores), n_rungs, waits=waits)
    scheduler.set_search_properties("score", "max")
    trials = [
        SimpleNamespace(config={"candidate": number}, status=Trial.PENDING, rung=0)
        for number in range(len(scores))
    ]
    for trial in trials:
        trial.trial_id = str(trial.config["candidate"])
    controller = SimpleNamespace(get_trials=lambda: trials)

    def stop(trial):
        assert trial.status == Trial.PAUSED
        scheduler.on_trial_remove(controller, trial)
        trial.status = Trial.TERMINATED

    controller.stop_trial = stop
    chance, running, complete, begun = random.Random(seed), [], [], []
    while True:
        while len(running) < n_workers:
            pending = (one for one in trials if one.status == Trial.PENDING)
            trial = scheduler.choose_trial_to_run(controller) or next(pending, None)
            if trial is None:
                break
            trial.status = Trial.RUNNING
            running.append(trial)
            begun.append(trial.config["candidate"])
        if not running:
            break
        trial = running.pop(chance.randrange(len(running)))
        number, decision = trial.config["candidate"], scheduler.CONTINUE
        while decision == scheduler.CONTINUE and trial.rung < n_rungs:
            if number in fails:
                break
            result = {"rung": trial.rung, "score": scores[number]}
            decision = scheduler.on_trial_result(controller, trial, result)
            trial.rung += decision == scheduler.CONTINUE
        if decision == scheduler.PAUSE:
            trial.status = Trial.PAUSED
            continue
        if decision == scheduler.CONTINUE and number not in fails:
            complete.append(number)
        scheduler.on_trial_complete(controller, trial, {})
        trial.status = Trial.TERMINATED
    assert all(trial.status == Trial.TERMINATED for trial in trials)
    return complete, begun


@pytest.mark.parametrize("n_trials", [1, 2, 5, 16, 33])
@pytest.mark.parametrize("n_rungs", [1, 2])
@pytest.mark.parametrize("fails", [(), (0,)])
def test_the_best_trial_is_always_complete(n_trials, n_rungs, fails):
    for seed in range(20):
        scores = np.random.default_rng(seed).permutation(n_trials)
        if set(range(n_trials)) <= set(fails):
            continue
        best = max(set(range(n_trials)) - set(fails), key=lambda one: scores[one])
        for n_workers in (1, 2, 5):
            options = {"n_workers": n_workers, "n_rungs": n_rungs, "fails": fails}
            assert best in run_trials(scores, seed=seed, **options)[0]


def test_a_first_trial_that_is_bad_does_not_go_on():
    complete, begun = run_trials(range(4), n_workers=1)
    assert complete == [3]
    assert begun == [0, 1, 2, 3]


def test_a_good_trial_that_waited_goes_on_before_new_ones_begin():
    complete, begun = run_trials([9, 1, 2, 3, 4, 5, 6, 7], n_workers=1)
    assert complete == [0, 7]
    assert begun == [0, 1, 2, 3, 0, 4, 5, 6, 7]


@pytest.mark.parametrize("seed", range(5))
def test_of_equal_trials_the_same_goes_on_whoever_was_faster(seed):
    assert run_trials([5, 5, 5], seed=seed)[0] == [0]


def test_without_waiting_the_first_goes_on_and_worse_ones_end():
    complete, begun = run_trials([5, 1, 2, 9], n_workers=1, waits=False)
    assert complete == [0, 3]
    assert begun == [0, 1, 2, 3]


def test_trials_are_compared_after_a_fifth_of_their_epochs():
    assert rungs_of(20) == (4,)
    assert rungs_of(2) == rungs_of(0) == ()
