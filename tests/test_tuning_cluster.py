"""The search on clusters, and when workers and drivers are killed."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
from conftest import ONE_BY_ONE, count_threads, small_adhoc, without_workers
from joblib import parallel_config
from numpy.testing import assert_array_equal
from ray.cluster_utils import Cluster
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from tbsclassify import RayTuneSearchCV
from tbsclassify.tuning import _journal

pytestmark = pytest.mark.slow

SPACE = {"lr": [0.001, 0.003, 0.01, 0.03]}
QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}


def search(scoring, **options):
    model = small_adhoc(max_epochs=4, early_stopping=False)
    defaults = {"n_trials": 4, "cv": 2, "scheduler": None, "random_state": 0}
    return RayTuneSearchCV(model, SPACE, scoring=scoring, **defaults | options)


@contextmanager
def running_cluster(*cores):
    """Start a cluster with a node of so many cores each, and give its address."""
    cluster = Cluster()
    try:
        for n_cores in cores:
            cluster.add_node(num_cpus=n_cores, include_dashboard=False)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


def node_of_worker(estimator, X, y):
    node = ray.get_runtime_context().get_node_id()
    time.sleep(0.2)  # so that a single node cannot be through before the other began
    return {"accuracy": estimator.score(X, y), "node": float(int(node[:8], 16))}


def test_a_search_runs_on_two_nodes_and_leaves_them_running(
    spines, no_ray, monkeypatch
):
    with running_cluster(1, 1) as address:
        ray.init(address=address, **QUIET)
        found = search(node_of_worker, refit="accuracy").fit(spines.X, spines.y)
        assert (found.cv_results_["status"] == "complete").all()
        nodes = set(found.cv_results_["mean_test_node"])
        assert len(nodes) == 2
        assert len([node for node in ray.nodes() if node["Alive"]]) == 2
        # Two cores there are, but not on one machine.
        with pytest.raises(ValueError, match=r"'cpu': 2.*2 machines \(1 CPU.*; 1 CPU"):
            search("roc_auc", resources_per_trial={"cpu": 2}).fit(spines.X, spines.y)
        ray.shutdown()  # leaves the cluster, which the environment then names
        monkeypatch.setenv("RAY_ADDRESS", address)
        found = search(node_of_worker, n_trials=1, refit="accuracy")
        found.fit(spines.X, spines.y)
        assert not ray.is_initialized()
        assert set(found.cv_results_["mean_test_node"]) < nodes


def test_without_a_ray_one_runs_for_the_time_of_the_search(spines, no_ray, capfd):
    found = search("roc_auc", n_trials=1).fit(spines.X, spines.y)
    assert found.cv_results_["status"].tolist() == ["complete"]
    assert not ray.is_initialized()
    assert capfd.readouterr() == ("", "")


def kill_the_worker(marker, estimator, X, y):
    """Score, but kill the process at the third epoch of the trial with one rate."""
    epoch = len(estimator.net_.history)
    if estimator.lr == 0.01 and epoch == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return estimator.score(X, y)


def test_a_killed_worker_is_tried_again_and_every_trial_is_accounted_for(
    spines, ray_of_two_cores, tmp_path
):
    marker = tmp_path / "killed"
    killed = search(partial(kill_the_worker, marker)).fit(spines.X, spines.y)
    assert marker.exists()
    with without_workers():
        unharmed = search(partial(kill_the_worker, marker)).fit(spines.X, spines.y)
    assert (killed.cv_results_["status"] == "complete").all()
    for column in ("mean_test_score", "n_epochs", "param_lr"):
        assert_array_equal(killed.cv_results_[column], unharmed.cv_results_[column])
    pd.testing.assert_frame_equal(
        killed.history_.drop(columns="seconds"),
        unharmed.history_.drop(columns="seconds"),
    )


def test_a_trial_that_always_kills_its_worker_is_a_row_that_failed(
    spines, ray_of_two_cores
):
    # Inside the test, so that it is pickled by value: workers need not import this
    # file, nor PyTorch, five times.
    def kill_the_worker_always(estimator, X, y):
        if estimator.C > 0.005:
            os.kill(os.getpid(), signal.SIGKILL)
        return estimator.score(X, y)

    found = RayTuneSearchCV(
        LogisticRegression(),
        {"C": [0.001, 0.03]},
        scoring=kill_the_worker_always,
        n_trials=2,
        cv=2,
        random_state=0,
    )
    with (
        pytest.warns(Warning, match="worker of the trial died 4 times"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        found.fit(spines.X.reshape(32, -1), spines.y)
    failed = found.cv_results_["status"] == "failed"
    assert_array_equal(failed, found.cv_results_["param_C"] > 0.005)
    assert failed.sum() == 1
    assert np.isnan(found.cv_results_["mean_test_score"][failed]).all()
    assert found.best_params_["C"] < 0.005


SCRIPT = """
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import ray
from ray import tune

from tbsclassify import RayTuneSearchCV, TBSAdHocClassifier


def note_and_score(folder, estimator, X, y):
    with open(folder / "fitted.txt", "a") as file:
        print(estimator.lr, len(estimator.net_.history), file=file)
    time.sleep(0.1)
    return estimator.score(X, y)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (24, 12, 12), dtype=np.uint8), np.tile([0, 1], 12)
    model = TBSAdHocClassifier(
        1, (4,), (8,), max_epochs=5, early_stopping=False, random_state=0
    )
    found = RayTuneSearchCV(
        model,
        {"lr": tune.loguniform(1e-4, 1e-1)},
        n_trials=8,
        scheduler="asha",
        scoring=partial(note_and_score, folder),
        cv=2,
        checkpoint_dir=folder / "storage",
        random_state=0,
        refit=False,
    ).fit(X, y)
    print(*found.cv_results_["status"])
    print(*found.cv_results_["param_lr"])
"""


def test_a_killed_driver_goes_on_and_repeats_no_finished_trial(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path)]
    driver = subprocess.Popen(command, start_new_session=True)
    storage, fitted = tmp_path / "storage", tmp_path / "fitted.txt"
    until = time.monotonic() + 300
    while len(list(storage.glob("trial-*.npz"))) < 3:
        assert driver.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(2)  # until the last workers have noticed
    finished = {path.name: path.read_bytes() for path in storage.glob("trial-*.npz")}
    assert 3 <= len(finished) < 8
    fitted.unlink()
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=300
    )
    status, rates = (line.split() for line in done.stdout.splitlines())
    assert len(status) == len(set(rates)) == 8
    assert set(status) <= {"complete", "stopped"}
    trials = sorted(path.name for path in storage.glob("trial-*.npz"))
    assert all((storage / name).read_bytes() == old for name, old in finished.items())
    finished_rates = {rates[trials.index(name)] for name in finished}
    fitted_again = {line.split()[0] for line in fitted.read_text().splitlines()}
    assert not fitted_again & finished_rates
    # One that had waited may turn out not to be among the best, and end without a fit.
    assert 1 <= len(fitted_again) <= 8 - len(finished)


# GridSearchCV with the backends of joblib


@pytest.mark.parametrize("backend", ["loky", "ray"])
def test_a_grid_search_in_two_workers_takes_one_thread_each_and_finds_the_same(
    backend, spines, no_ray
):
    if backend == "ray":
        from ray.util.joblib import register_ray

        folder = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
        ray.init(address="local", num_cpus=2, runtime_env=folder, **QUIET)
        register_ray()
    grid = GridSearchCV(
        small_adhoc(max_epochs=2),
        SPACE,
        scoring={"loss": "neg_log_loss", "threads": count_threads},
        cv=2,
        refit=False,
        error_score="raise",
    )
    here = grid.fit(spines.X, spines.y).cv_results_["mean_test_loss"]
    with parallel_config(backend):
        there = grid.set_params(n_jobs=2).fit(spines.X, spines.y).cv_results_
    assert_array_equal(there["mean_test_threads"], np.ones(4))
    assert_array_equal(there["mean_test_loss"], here)


def test_a_search_goes_on_after_the_disk_was_full_between_two_files(
    spines, tmp_path, ray_of_two_cores, monkeypatch
):
    whole = _journal.write_whole

    def fill_the_disk(path, write):
        if path.suffix == ".pkl":
            raise OSError(errno.ENOSPC, "No space left on device", path.name)
        whole(path, write)

    halving = {"scheduler": "halving", "checkpoint_dir": tmp_path, "time_budget": 90}
    halving |= ONE_BY_ONE
    monkeypatch.setattr(_journal, "write_whole", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        search("neg_log_loss", **halving).fit(spines.X, spines.y)
    monkeypatch.setattr(_journal, "write_whole", whole)
    found = search("neg_log_loss", **halving).fit(spines.X, spines.y)
    status = found.cv_results_["status"].tolist()
    assert sorted(set(status)) == ["complete", "stopped"]
    assert len(status) == 4
