"""Data small enough for every test, and the classifiers all of them share."""

import logging
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.utils import Bunch
from threadpoolctl import threadpool_info

from tbsclassify import (
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    load_scans,
)
from tbsclassify.estimators._networks import PAPER_TRAINING

# Real scans and weights are nobody's to ship: a folder beside the checkout, or
# one named by this variable, may hold them.
SHARED = Path(
    os.environ.get("TBSCLASSIFY_SHARED", Path(__file__).parents[2] / "shared")
)


# Ray's workers give way to every other process, to the other tests, too, beside which
# trials with a time limit would hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")


# For a search: one trial after the other, in one process of Ray. Each process takes
# seconds to start.
ONE_BY_ONE = {"resources_per_trial": {"cpu": 2}}


# Tests compare more digits than half precision has, which some processors have.
SINGLE = {"precision": "float32"}


# No test asserts how fast an example is.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def shared(*parts):
    """Return a path in the folder of real material, or skip the test."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real material is absent: {'/'.join(parts)}")
    return path


def load_real_scans():
    """Load the real scans with bone density classes, or skip the test."""
    folder = shared("data", "spine-dxa-bone-density")
    with pytest.warns(UserWarning, match="scans have no boxes of L1-L4"):
        return load_scans(
            folder / "scans.csv",
            folder / "images",
            patient_column="subject",
            tbs_column=None,
        )


def small_adhoc(**parameters):
    """Make an ad hoc classifier that trains in a fraction of a second."""
    architecture = {"blocks": 1, "filters": (4,), "fc": (8,)}
    training = {"lr": 0.01, "batch_size": 8, "max_epochs": 8, "random_state": 0}
    training |= PAPER_TRAINING | {"pooling": "flatten", "early_stopping": True}
    training |= SINGLE
    return TBSAdHocClassifier(**architecture | training | parameters)


def small_pretrained(**parameters):
    """Make a torchvision classifier that trains in about a second."""
    network = {"backbone": "squeezenet1_1", "mode": "full", "weights": None}
    training = PAPER_TRAINING | {"lr": 0.0001, "max_epochs": 2, "random_state": 0}
    training |= SINGLE
    return TBSPretrainedClassifier(**network | training | parameters)


def small_texture(**parameters):
    """Make a classifier in closed form, on a random network, in milliseconds."""
    network = {"backbone": "squeezenet1_0", "mode": "texture", "weights": None}
    return TBSPretrainedClassifier(
        **network | {"random_state": 0} | SINGLE | parameters
    )


def count_threads(estimator, X, y):
    """Score an estimator by the threads that its process computes with."""
    return max(
        torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info())
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Networks this small are faster without a second thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_tf32():
    """Tests compare more digits than convolutions on a GPU have by default."""
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(scope="session")
def spines():
    """Return 32 images of 16 patients: class 1 is the rougher texture."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 16)
    rough = rng.normal(size=(32, 24, 24))
    smooth = sum(np.roll(rough, shift, axis=2) for shift in range(4)) / 2
    images = np.where(y[:, None, None] == 1, rough, smooth) * 25 + 110
    return Bunch(
        X=images.clip(0, 255).astype(np.uint8),
        y=y,
        patient=np.repeat(np.arange(16), 2),
    )


@pytest.fixture(scope="session")
def graded():
    """Return 60 images of 30 patients: the coarser the texture, the higher TBS."""
    rng = np.random.default_rng(0)
    tbs = rng.uniform(1.05, 1.5, 60).round(3)
    fine = rng.normal(size=(60, 24, 24))
    coarse = sum(np.roll(fine, shift, axis=2) for shift in range(4)) / 2
    share = ((tbs - 1.05) / 0.45)[:, None, None]
    images = (share * coarse + (1 - share) * fine) * 25 + 110
    return Bunch(
        X=images.clip(0, 255).astype(np.uint8),
        tbs=tbs,
        y=TBSLabeler().fit_transform(tbs),
        patient=np.repeat(np.arange(30), 2),
    )


@pytest.fixture(scope="session")
def ray_of_two_cores():
    """Run one Ray for all tests of the search that need none of their own."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


def run_trials_here(task, proposals, *, journal, **options):
    """Run trials one by one in this process, not in workers of Ray.

    For tests of what becomes of results. That workers of Ray come to the same results
    is tested, too. The task is copied as on its way to a worker.
    """
    from ray import cloudpickle

    from tbsclassify.tuning._journal import place_of_trial
    from tbsclassify.tuning._trial import evaluate

    task = cloudpickle.loads(cloudpickle.dumps(task))
    for number in range(proposals.n_trials):
        if number in journal.records:
            continue
        record = journal.begin({"candidate": number})
        evaluate(
            task,
            task.decode(record.config),
            lambda told, record=record: record.update(told, 0.0),
            place_of_trial(task.checkpoint, record.config),
        )
        journal.finish(record, (None, None, []))


@contextmanager
def without_workers():
    """Run the trials of a block in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tbsclassify.tuning._ray.run_trials", run_trials_here)
        yield


@pytest.fixture
def trials_in_this_process():
    """Run the trials of a test in this process."""
    with without_workers():
        yield


@pytest.fixture
def no_ray():
    """Leave no Ray running before or after a test."""
    import ray

    ray.shutdown()
    yield
    ray.shutdown()


# Before pytest-xdist reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep the tests of a file in one process, and all that use Ray.

    One Ray serves them all, but for those that have none running, which come last.
    They wait more than they compute, so that they are begun first of all tests.
    """
    items.sort(key=lambda item: (not uses_ray(item), "no_ray" in fixtures_of(item)))
    for item in items:
        group = "ray" if uses_ray(item) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


def uses_ray(item):
    """Tell whether a test uses Ray, or is in a folder of those that do."""
    return (
        not fixtures_of(item).isdisjoint({"no_ray", "ray_of_two_cores"})
        or item.path.stem.endswith("_cluster")
        or "tuning" in item.path.parts
    )


def fixtures_of(item):
    """Return the names of a test's fixtures; not all doctests have some."""
    return {*getattr(item, "fixturenames", ())}
