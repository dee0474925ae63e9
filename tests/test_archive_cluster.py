"""Archives on Ray: the same table, from one machine or two, and after a kill."""

import logging
import os

import numpy as np
import pytest
import ray
from PIL import Image
from ray.cluster_utils import Cluster
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tbsclassify import (
    LumbarCropper,
    make_dxa_phantoms,
    make_texture_classifier,
    predict_archive,
)

pytestmark = pytest.mark.slow

QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}


@pytest.fixture(scope="module")
def scans():
    return make_dxa_phantoms(30, class_shares=(1, 0, 1), random_state=0)


@pytest.fixture
def folder(scans, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for i, image in enumerate(scans.images):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    (folder / "07.png").write_bytes(b"")
    return folder


def test_the_table_is_the_same_and_an_unfinished_one_goes_on(
    scans, folder, tmp_path, ray_of_two_cores
):
    model = make_texture_classifier().fit(scans.frame[["image"]], scans.tbs < 1.2)
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    predict_archive(model, folder, here)
    result = predict_archive(model, folder, there, engine="ray", batch_size=4)
    assert there.read_bytes() == here.read_bytes()
    assert (result.n_scored, result.n_failed) == (29, 1)
    there.write_bytes(here.read_bytes()[:1200])
    n_lines = here.read_bytes()[:1200].count(b"\n") - 1
    told = []
    result = predict_archive(
        model,
        folder,
        there,
        engine="ray",
        batch_size=4,
        progress=lambda *numbers: told.append(numbers),
    )
    assert there.read_bytes() == here.read_bytes()
    assert (result.n_skipped, result.n_scored) == (n_lines, 30 - n_lines)
    assert told[0] == (n_lines + 4, 30)
    assert ray.is_initialized()


def note_node_in(folder):
    # A function inside this one goes to other machines as it is; this file does not.
    def note(crops):
        import time

        import ray

        if not ray.is_initialized():
            (folder / "none").touch()
        else:
            (folder / ray.get_runtime_context().get_node_id()).touch()
            until = time.monotonic() + 60
            # So that one node cannot be through before the other has begun.
            while len(list(folder.iterdir())) < 3 and time.monotonic() < until:
                time.sleep(0.05)
        return np.asarray(crops).reshape(len(crops), -1).std(axis=1, keepdims=True)

    return note


def test_two_nodes_share_an_archive_and_write_the_same_table(
    scans, tmp_path, folder, no_ray
):
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    features = FunctionTransformer(note_node_in(nodes))
    model = make_pipeline(LumbarCropper(), features, LogisticRegression())
    model.fit(scans.frame[["image"]], scans.tbs < 1.2)
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    predict_archive(model, folder, here)
    assert os.listdir(nodes) == ["none"]
    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, include_dashboard=False)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, **QUIET)
        predict_archive(model, folder, there, engine="ray", batch_size=1)
        assert len({node["NodeID"] for node in ray.nodes() if node["Alive"]}) == 2
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert there.read_bytes() == here.read_bytes()
    assert len(os.listdir(nodes)) == 3


def test_an_error_inside_a_worker_is_raised_as_it_is(
    ray_of_two_cores, folder, tmp_path
):
    # Inside the test, so that it is pickled by value: workers cannot import tests.
    class Broken(ClassifierMixin, BaseEstimator):
        """A model that fails on all scans, not because of them."""

        classes_ = (0, 1)

        def fit(self, X, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict(self, X):
            raise TypeError("broken inside a worker")

    with pytest.raises(TypeError, match=r"^broken inside a worker$"):
        predict_archive(Broken(), folder, tmp_path / "scores.csv", engine="ray")
