"""Channel statistics of a frozen network as features."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shared
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from tbsclassify import DeepTextureFeatures, LumbarCropper
from tbsclassify.estimators import _statistics
from tbsclassify.estimators._networks import PAPER_BACKBONES

TWO = ["features.1", "features.3"]


def small_features(**parameters):
    """Describe by a random SqueezeNet, in single precision."""
    settings = {"weights": None, "precision": "float32", "random_state": 0}
    return DeepTextureFeatures(**settings | parameters)


@pytest.fixture(scope="module")
def scans():
    """Return 9 grey scans of 40 x 36 pixels."""
    return np.random.default_rng(0).integers(0, 256, (9, 40, 36), dtype=np.uint8)


@pytest.fixture(scope="module")
def paths(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    names = [str(folder / f"{i}.png") for i in range(len(scans))]
    for name, scan in zip(names, scans, strict=True):
        Image.fromarray(scan).save(name)
    return names


# --- What the features are ---------------------------------------------------


def test_features_are_means_and_deviations_of_the_maps(scans):
    how = {"scales": [1.0], "mirror": False, "device": "cpu"}
    model = small_features(layers=["features.0"], **how)
    found = model.fit(scans).transform(scans)
    convolution = model.module_.maps.features[0]
    grey = torch.from_numpy(scans[:, None].astype(np.float32))
    with torch.inference_mode():
        maps = convolution((grey - scans.mean()) / scans.std()).numpy()
    expected = np.hstack([maps.mean((2, 3)), maps.std((2, 3))])
    assert_allclose(found, expected, atol=1e-4)


def test_names_tell_layer_scale_statistic_and_channel(scans):
    model = small_features(layers=TWO, scales=[1.0, 0.5], statistics=["std"]).fit(scans)
    names = list(model.get_feature_names_out())
    assert len(names) == model.transform(scans).shape[1] == len(set(names))
    assert names[0] == "features.1/std/0"
    assert names[95] == "features.1/std/95"
    assert names[96] == "features.3/std/0"
    assert names[-1] == "features.3@0.5/std/127"


def test_names_belong_to_their_features(scans):
    both = small_features(layers=TWO, scales=[1.0, 0.5]).fit(scans)
    alone = small_features(layers=["features.3"], statistics=["std"], scales=[0.5])
    named = pd.DataFrame(both.transform(scans), columns=both.get_feature_names_out())
    found = alone.fit(scans).transform(scans)
    assert_allclose(named[alone.get_feature_names_out()], found, atol=1e-6)


def test_layers_are_named_in_the_order_that_they_are_asked_for_in(scans):
    layers = ["features.3", "features.1"]
    names = small_features(layers=layers).fit(scans).get_feature_names_out()
    assert names[0].startswith("features.3/")


@pytest.mark.parametrize("backbone", PAPER_BACKBONES)
def test_the_papers_networks_have_layers_that_are_taken_by_default(backbone):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    features = small_features(backbone=backbone).fit_transform(images)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert (features.std(axis=0) > 0).mean() > 0.5


def test_layers_inside_of_a_block_may_be_described(scans):
    layers = ["features.3.squeeze", "features.3.expand3x3_activation"]
    model = small_features(layers=layers, scales=[1.0]).fit(scans)
    assert model.transform(scans).shape == (9, 2 * (16 + 64))


def test_a_layer_that_is_run_several_times_is_described_the_first_time(scans):
    model = small_features(backbone="resnet18", layers=["layer1.0.relu"], scales=[1.0])
    again = small_features(backbone="resnet18", layers=["layer1.0.bn1"], scales=[1.0])
    first, before = (one.fit(scans).transform(scans) for one in (model, again))
    assert first.shape == before.shape
    assert (first[:, :64] >= before[:, :64] - 1e-6).all()
    assert (first >= 0).all()


def test_maps_are_those_before_a_layer_that_would_write_over_them(scans):
    alone = small_features(layers=["features.0"]).fit_transform(scans)
    together = small_features(layers=["features.0", "features.1"])
    named = pd.DataFrame(
        together.fit_transform(scans), columns=together.get_feature_names_out()
    )
    assert_allclose(named.filter(regex=r"^features\.0"), alone, atol=1e-6)


def test_a_scan_and_its_mirror_image_have_the_same_features(scans):
    mirrored = np.ascontiguousarray(scans[:, :, ::-1])
    for mirror in (True, False):
        model = small_features(mirror=mirror).fit(scans)
        same = np.allclose(model.transform(mirrored), model.transform(scans), atol=1e-5)
        assert same == mirror


def test_grey_scans_have_the_features_of_three_equal_channels(scans):
    grey = small_features().fit(scans)
    colour = np.repeat(scans[:, None], 3, axis=1)
    equal = small_features().fit(colour)
    assert grey.module_.maps.features[0].in_channels == 1
    assert equal.module_.maps.features[0].in_channels == 3
    assert_allclose(grey.transform(scans), equal.transform(colour), atol=1e-5)


def test_grey_scans_have_the_features_of_colour_with_imagenets_normalisation(scans):
    path = shared("weights", "squeezenet1_0_features.safetensors")
    grey = small_features(weights=path).fit_transform(scans)
    colour = np.repeat(scans[:, None], 3, axis=1)
    equal = small_features(weights=path).fit_transform(colour)
    assert_allclose(grey, equal, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4, 24])
def test_batches_do_not_change_features(batch_size, scans):
    whole = small_features(batch_size=9).fit_transform(scans)
    parts = small_features(batch_size=batch_size).fit_transform(scans)
    assert_allclose(parts, whole, atol=1e-5)


def test_16_bit_scans_with_the_same_grey_levels_have_the_same_features(scans):
    deep = scans.astype(np.uint16) * 257
    expected = small_features().fit_transform(scans)
    assert_allclose(small_features().fit_transform(deep), expected, atol=1e-4)


def test_half_the_size_is_that_of_a_scan_of_half_the_size(scans):
    flat = np.broadcast_to(scans[:, :1, :1], scans.shape).copy()
    model = small_features(layers=["features.0"], statistics=["mean"]).fit(scans)
    found = model.transform(flat)
    assert_allclose(found[:, :96], found[:, 96:], atol=1e-5)


# --- The network -------------------------------------------------------------


def test_the_network_is_only_as_deep_as_needed(scans):
    model = small_features(layers=["features.3"]).fit(scans)
    weights = {name.split(".")[2] for name, _ in model.module_.named_parameters()}
    assert weights == {"0", "3"}


def test_layers_behind_the_deepest_are_not_run(scans, monkeypatch):
    run = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(
        nn.Conv2d, "forward", lambda self, x: run.append(self) or forward(self, x)
    )
    model = small_features(layers=["features.1"], scales=[1.0], mirror=False).fit(scans)
    run.clear()
    model.transform(scans)
    assert len(run) == 1


def test_random_weights_are_repeatable_and_leave_torch_alone(scans):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (
        small_features(random_state=seed).fit_transform(scans) for seed in (0, 0, 1)
    )
    assert_array_equal(same, one)
    assert not np.allclose(other, one)
    assert torch.equal(torch.get_rng_state(), before)


def test_fits_in_threads_give_the_same_bits_as_alone(scans):
    def describe():
        return small_features().fit_transform(scans)

    alone = describe()
    with joblib.parallel_config("threading"):
        together = joblib.Parallel(4)(joblib.delayed(describe)() for _ in range(8))
    for one in together:
        assert_array_equal(one, alone)


def test_one_network_describes_in_several_threads(scans):
    model = small_features(layers=["features.3", "features.1"]).fit(scans)
    alone = [model.transform(scans[i : i + 1]) for i in range(9)]
    with joblib.parallel_config("threading"):
        together = joblib.Parallel(4)(
            joblib.delayed(model.transform)(scans[i : i + 1]) for i in range(9)
        )
    assert_array_equal(together, alone)


def test_pickles_are_small_and_give_the_same(scans):
    model = small_features().fit(scans)
    content = pickle.dumps(model)
    assert len(content) < 1e6
    again = pickle.loads(content)
    assert_array_equal(again.transform(scans), model.transform(scans))
    assert not hasattr(clone(again), "module_")


# --- In front of other estimators --------------------------------------------


def test_paths_are_read_batch_by_batch_and_give_the_features_of_arrays(
    scans, paths, monkeypatch
):
    sizes = []
    check_images = _features_module().check_images

    def note(estimator, X, *args, **options):
        sizes.append(len(X))
        return check_images(estimator, X, *args, **options)

    monkeypatch.setattr(_features_module(), "check_images", note)
    found = small_features(batch_size=4).fit_transform(paths)
    assert max(sizes) == 4
    assert_array_equal(found, small_features(batch_size=4).fit_transform(scans))


def _features_module():
    from tbsclassify.estimators import _features

    return _features


def test_with_given_weights_a_fit_reads_the_first_batch_only(scans, tmp_path):
    state = _statistics.torchvision_model("squeezenet1_0", None).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    first = tmp_path / "0.png"
    Image.fromarray(scans[0]).save(first)
    model = small_features(weights=tmp_path / "weights.pt", batch_size=1)
    model.fit([str(first), str(tmp_path / "absent.png")])
    assert len(model.transform([str(first)])) == 1


def test_features_have_names_in_a_table(scans):
    model = small_features().set_output(transform="pandas")
    table = model.fit_transform(scans)
    assert list(table) == list(model.get_feature_names_out())
    assert table.dtypes.unique() == [np.float32]


def test_a_pipeline_keeps_features_in_a_cache(scans, tmp_path, monkeypatch):
    y = np.arange(9.0)

    def fit():
        model = make_pipeline(
            small_features(), StandardScaler(), RidgeCV(), memory=str(tmp_path)
        )
        return model.fit(scans, y).predict(scans)

    first = fit()

    def fail(*_):
        raise AssertionError("described again")

    monkeypatch.setattr(DeepTextureFeatures, "fit", fail)
    assert_allclose(fit(), first)


def test_features_stand_beside_clinical_columns(paths):
    table = pd.DataFrame({"image": paths, "age": np.linspace(50, 80, 9)})
    features = make_pipeline(
        LumbarCropper(32), small_features(layers=TWO, scales=[1.0])
    )
    columns = make_column_transformer((features, ["image"]), ("passthrough", ["age"]))
    found = columns.fit_transform(table)
    assert found.shape == (9, 449)
    assert_array_equal(found[:, -1], table["age"])


# --- What is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"layers": ["features.99"]}, ValueError, "layers .*'features.0'.*99'"),
        ({"layers": []}, TypeError, r"layers .* got \[\]"),
        ({"layers": [3]}, TypeError, r"layers .* got \[3\]"),
        ({"backbone": "mobilenet_v2"}, ValueError, "layers .* got None"),
        ({"backbone": "squeeznet"}, ValueError, "backbone .*Did you mean 'squeezenet"),
        ({"statistics": ["max"]}, ValueError, r"statistics\[0\] .* got 'max'"),
        ({"statistics": "mean"}, TypeError, "statistics .* got 'mean'"),
        ({"scales": [-1]}, ValueError, r"scales\[0\] .* got -1"),
        ({"mirror": 1}, TypeError, "mirror .* got 1"),
        ({"batch_size": 0}, ValueError, "batch_size .* got 0"),
        ({"precision": "half"}, ValueError, "precision .* got 'half'"),
        ({"weights": "cifar"}, ValueError, "weights .* got 'cifar'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_parameters_are_named_at_fit(parameters, error, message, scans):
    with pytest.raises(error, match=message):
        small_features(**parameters).fit(scans)


@pytest.mark.parametrize(
    ("backbone", "layers", "message"),
    [
        ("resnet18", ["relu", "fc"], "output is maps, .* got 'fc', whose output is"),
        ("inception_v3", ["Conv2d_1a_3x3", "Mixed_7c.branch1x1.x"], "Mixed_7c.branch"),
        ("alexnet", ["features.1", "classifier.1"], "got 'classifier.1', whose"),
    ],
)
def test_layers_that_give_no_maps_are_refused(backbone, layers, message):
    images = np.zeros((2, 75, 75), np.uint8)
    with pytest.raises(ValueError, match=message):
        small_features(backbone=backbone, layers=layers, scales=[1.0]).fit(images)


def test_a_layer_that_is_never_run_is_refused(scans, monkeypatch):
    make = _statistics.torchvision_model

    def with_an_idle_layer(*options):
        model = make(*options)
        model.idle = nn.ReLU()
        return model

    monkeypatch.setattr(_statistics, "torchvision_model", with_an_idle_layer)
    with pytest.raises(ValueError, match="got 'idle', which is not run, of backbone"):
        small_features(layers=["features.1", "idle"]).fit(scans)


def test_images_that_are_too_small_are_refused(scans):
    with pytest.raises(
        ValueError, match=r"images of 4 x 4 pixels, .* from .* pixels on"
    ):
        small_features().fit(scans[:, :4, :4])


def test_other_images_than_those_of_the_fit_are_refused(scans):
    model = small_features().fit(scans)
    with pytest.raises(ValueError, match="DeepTextureFeatures was fitted on"):
        model.transform(scans[:, :30])
    with pytest.raises(ValueError, match="uint16 images, but DeepTextureFeatures"):
        model.transform(scans.astype(np.uint16))


def test_images_of_two_channels_are_refused(scans):
    with pytest.raises(ValueError, match=r"1 channel .* got 2 channels"):
        small_features().fit(scans[:8].reshape(4, 2, 40, 36))


def test_of_random_weights_only_the_first_layer_is_described(scans):
    names = small_features(layers=None).fit(scans).get_feature_names_out()
    layers = {name.partition("/")[0] for name in names}
    assert layers == {"features.1", "features.1@0.5"}
