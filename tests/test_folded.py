"""Prediction by a twin of the network, with batch normalisation in its neighbours."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torchvision
from conftest import small_adhoc
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from tbsclassify.estimators._folded import folded
from tbsclassify.estimators._losses import probabilities
from tbsclassify.estimators._networks import PretrainedNetwork, adhoc_network
from tbsclassify.estimators._statistics import ChannelStatistics
from tbsclassify.estimators._texture_network import adhoc_texture_network

SIDE = 64
GREY = (1, SIDE, SIDE)
INPUT = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]


def shaken(network):
    """Give batch normalisation statistics and factors as a training might leave them.

    Factors are of both signs; one is zero and one as good as that.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, -1, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            with torch.no_grad():
                layer.weight[:2] = torch.tensor([0.0, 1e-25])
    return network.eval().requires_grad_(False)


def pretrained(name):
    return PretrainedNetwork(
        name, GREY, *INPUT, 3, weights=None, dropout=0.4, head_only=False
    )


def vgg16_maps():
    """Return the convolutions of VGG-16, without its large layers behind them."""
    with torch.device("meta"):
        network = torchvision.models.vgg16().features
    for layer in network.to_empty(device="cpu"):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def texture(name, layers):
    return ChannelStatistics(
        name,
        GREY,
        *INPUT,
        weights=None,
        layers=layers,
        statistics=("mean", "std"),
        scales=(1.0,),
        mirror=False,
    )


def plain_adhoc(shape, filters, fc):
    return adhoc_network(shape, [120.0], [60.0], filters, fc, 3)


COLOUR, ROW = (3, 32, 32), (1, 1, SIDE)
NETWORKS = {
    "squeezenet1_0": (lambda: pretrained("squeezenet1_0"), GREY),
    "resnet18": (lambda: pretrained("resnet18"), GREY),
    "densenet121": (lambda: pretrained("densenet121"), GREY),
    "mobilenet_v3_small": (lambda: pretrained("mobilenet_v3_small"), GREY),
    "vgg16": (vgg16_maps, COLOUR),
    "ad hoc": (lambda: plain_adhoc(GREY, (4, 8), (300,)), GREY),
    "ad hoc, a row": (lambda: plain_adhoc(ROW, (4,), ()), ROW),
    "ad hoc, texture": (
        lambda: adhoc_texture_network(GREY, [120.0], [60.0], (4, 8), 3),
        GREY,
    ),
    "resnet18, texture": (lambda: texture("resnet18", ["conv1", "bn1"]), GREY),
    "densenet121, texture": (
        lambda: texture("densenet121", ["features.denseblock1.denselayer1.conv1"]),
        GREY,
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    """Return a network and images for it."""
    make, shape = NETWORKS[request.param]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = shaken(make()).to(memory_format=torch.channels_last)
        images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    return network, images if shape != COLOUR else images / 255


def outputs_of(network, images):
    with torch.inference_mode():
        return network(images).numpy()


def n_norms(network):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_the_twin_gives_the_same_outputs(case):
    network, images = case
    expected = outputs_of(network, images)
    found = outputs_of(folded(network), images)
    scale = np.abs(expected).max()
    assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def test_the_twin_gives_the_same_bits_each_time_and_the_network_those_it_gave():
    network = shaken(pretrained("resnet18"))
    images = torch.randint(0, 256, (2, *GREY), dtype=torch.uint8)
    before = outputs_of(network, images)
    assert_array_equal(*(outputs_of(folded(network), images) for _ in range(2)))
    assert_array_equal(outputs_of(network, images), before)


def test_the_network_stays_what_it_was(case):
    network, _ = case
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    modules = repr(network)
    folded(network)
    assert repr(network) == modules
    for name, value in network.state_dict().items():
        assert_array_equal(value, weights[name])


@pytest.mark.parametrize(
    ("name", "n_left"),
    [("resnet18", 0), ("densenet121", 1), ("mobilenet_v3_small", 0), ("ad hoc", 0)],
)
def test_batch_normalisation_is_gone(name, n_left):
    # The last of DenseNet is before a ReLU that is no module.
    assert n_norms(folded(shaken(NETWORKS[name][0]()))) == n_left


def test_what_needs_no_change_is_in_memory_once():
    network = nn.Sequential(vgg16_maps(), nn.Linear(512, 300)).eval()
    places = {one.data_ptr() for one in network.parameters()}
    twin = folded(network)
    kept = [*twin.parameters(), *(one for part in twin[-1].parts for one in part)]
    assert {one.data_ptr() for one in kept} >= places
    assert all(one.untyped_storage().data_ptr() in places for one in kept)


def test_in_half_precision_nothing_is_moved_over_a_relu():
    network = shaken(NETWORKS["densenet121"][0]())
    n_before_relu = sum("norm1" in name for name, _ in network.named_modules())
    twin = folded(network, single=False)
    assert n_norms(twin) == n_before_relu + 4  # of three transitions, and the last
    images = torch.randint(0, 256, (2, *GREY), dtype=torch.uint8)
    expected = outputs_of(network, images)
    assert_allclose(outputs_of(twin, images), expected, atol=1e-5)


def test_a_layer_that_somebody_listens_to_gives_what_it_gave():
    network = shaken(NETWORKS["resnet18"][0]())
    heard = []
    handle = network.backbone.conv1.register_forward_hook(
        lambda module, args, output: heard.append(output.clone())
    )
    images = torch.randint(0, 256, (2, *GREY), dtype=torch.uint8)
    for one in (network, folded(network)):
        outputs_of(one, images)
    handle.remove()
    assert_array_equal(*heard)


@pytest.fixture(scope="module")
def model(spines):
    return small_adhoc(device="cpu").fit(spines.X, spines.y)


def plain_proba(model, X):
    with torch.inference_mode():
        images = torch.from_numpy(X[:, None])
        return probabilities(model.net_.module_.eval()(images)).numpy()


def test_a_fitted_model_predicts_what_its_network_does(model, spines):
    assert_allclose(
        model.predict_proba(spines.X), plain_proba(model, spines.X), atol=1e-5
    )


@pytest.mark.parametrize("layer", [nn.Conv2d, nn.BatchNorm2d, nn.Linear])
def test_weights_changed_after_the_fit_are_seen(model, spines, layer):
    model = copy.deepcopy(model)
    model.predict_proba(spines.X)
    for one in model.net_.module_.modules():
        if isinstance(one, layer):
            one.weight.data.mul_(-2)  # of which no tensor counts a version
    found = model.predict_proba(spines.X)
    assert_allclose(found, plain_proba(model, spines.X), atol=1e-5)


def test_prediction_leaves_no_trace_in_a_pickle(model, spines):
    fresh = pickle.dumps(copy.deepcopy(model))
    model.predict_proba(spines.X)
    assert len(pickle.dumps(model)) == len(fresh)
