"""The first convolution of a colour network on grey scans: one channel, not three."""

from functools import cache

import pytest
import torch
from conftest import small_adhoc
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional

from tbsclassify.estimators._grey import GreyStem, put_grey_stem
from tbsclassify.estimators._networks import (
    PAPER_BACKBONES,
    PretrainedNetwork,
    Standardize,
    conv_blocks,
)

IMAGENET = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
RANDOM = [100.0] * 3, [50.0] * 3
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def make_network(name, *, side=64, device="cpu", mean_std=RANDOM, **parameters):
    defaults = {"weights": None, "dropout": 0.0, "head_only": False}
    with torch.device(device):
        return PretrainedNetwork(
            name, (1, side, side), *mean_std, 2, **defaults | parameters
        )


def stem_of(network):
    return next(m for m in network.modules() if isinstance(m, nn.Conv2d))


@cache
def paper_stem(name):
    """Return the first convolution of a network, with shapes alone."""
    return stem_of(make_network(name, device="meta", head_only=True))


def scans(n, height, width):
    generator = torch.Generator().manual_seed(0)
    shape = (n, 1, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def assert_near(found, expected, tolerance):
    scale = float(expected.detach().abs().max())
    assert_allclose(
        found.detach().numpy(),
        expected.detach().numpy(),
        rtol=0,
        atol=tolerance * scale,
    )


@pytest.mark.parametrize("side", [64, 67])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("name", "mean_std"),
    [(name, RANDOM) for name in PAPER_BACKBONES] + [("squeezenet1_0", IMAGENET)],
)
def test_one_channel_gives_outputs_and_gradients_of_three(name, mean_std, dtype, side):
    assert isinstance(paper_stem(name), GreyStem)
    stem = GreyStem(paper_stem(name), *mean_std).to_empty(device="cpu")
    stem.requires_grad_()
    for parameter in stem.parameters():
        nn.init.uniform_(parameter, -0.1, 0.1)
    stem.to(dtype)
    standardize = Standardize(*mean_std).to(dtype)
    images = scans(3, side, side + 1)
    results = []
    for n_channels in (1, 3):
        maps = stem(standardize(images, n_channels))
        stem.zero_grad()
        maps.square().mean().backward()
        results.append([maps, *(p.grad for p in stem.parameters())])
    for one, three in zip(*results, strict=True):
        assert one.shape == three.shape
        assert_near(one, three, TOLERANCE[dtype])


def test_a_training_step_of_a_whole_network_is_that_on_three_channels():
    network = make_network("resnet18").double().train()
    images, results = scans(2, 33, 33), []
    for takes_grey in (True, False):
        assert network.takes_grey
        network.takes_grey = takes_grey
        network.zero_grad()
        outputs = network(images)
        functional.cross_entropy(outputs, torch.tensor([0, 1])).backward()
        results.append([outputs, *(p.grad for p in network.parameters())])
    for one, three in zip(*results, strict=True):
        assert_near(one, three, 1e-10)


def test_a_network_for_grey_scans_has_the_weights_of_the_one_for_colours():
    grey = make_network("resnet18", device="meta").state_dict()
    with torch.device("meta"):
        colour = PretrainedNetwork(
            "resnet18",
            (3, 64, 64),
            *IMAGENET,
            2,
            weights=None,
            dropout=0.0,
            head_only=False,
        )
    assert not colour.takes_grey
    assert not isinstance(stem_of(colour), GreyStem)
    expected = colour.state_dict()
    assert list(grey) == list(expected)
    assert all(grey[name].shape == expected[name].shape for name in grey)


def test_a_scan_of_three_channels_goes_the_old_way():
    network = make_network("squeezenet1_0").eval()
    image = scans(1, 64, 64)
    colours = image.expand(-1, 3, -1, -1)
    assert_near(network(image), network(colours), 1e-5)
    network.takes_grey = False
    outputs = network(colours)
    assert torch.equal(network(image), outputs)


def test_bfloat16_gives_nearly_what_it_gives_of_three_channels():
    network = make_network("resnet18").eval()
    image = scans(2, 33, 33)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        one = network.features(image)
        network.takes_grey = False
        three = network.features(image)
    assert_near(one.float(), three.float(), 0.05)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "vgg16", "densenet121"])
def test_shifted_channels_that_are_padded_stay_three(name):
    network = make_network(name, device="meta", head_only=True, mean_std=IMAGENET)
    assert not network.takes_grey
    assert type(stem_of(network)) is nn.Conv2d


class Mixed(nn.Module):
    """A network that does something else to its input first."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.conv(images[:, [2, 1, 0]])


@pytest.mark.parametrize(
    "model",
    [
        Mixed(),
        nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3, padding="same")),
        nn.Sequential(nn.Conv2d(3, 6, 3, groups=3)),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")),
        nn.Linear(3, 2),
    ],
    ids=["mixed", "padding by name", "groups", "reflection", "no convolution"],
)
def test_other_beginnings_are_left_as_they_are(model):
    before = [type(module) for module in model.modules()]
    assert not put_grey_stem(model, *RANDOM)
    assert [type(module) for module in model.modules()] == before


def test_pooling_before_relu_gives_bit_for_bit_the_outputs_and_gradients_of_after():
    images = torch.randn(4, 1, 30, 30).round(decimals=1)  # with ties
    (layers,), _ = conv_blocks((1, 30, 30), (5,))
    conv, norm, pool, relu = layers
    results = []
    for order in ([pool, relu], [relu, pool]):
        block = nn.Sequential(conv, norm, *order)
        block.zero_grad()
        maps = block(images)
        maps.square().sum().backward()
        results.append([maps, conv.weight.grad, norm.weight.grad, norm.bias.grad])
    for ours, papers in zip(*results, strict=True):
        assert torch.equal(ours, papers)


def test_an_ad_hoc_network_reads_grey_maps_as_it_reads_them_row_by_row(spines):
    network = small_adhoc(max_epochs=1).fit(spines.X, spines.y).net_.module_.cpu()
    standard = network[0](torch.from_numpy(spines.X[:4, None]))
    assert_near(
        network[1](standard),
        network[1](standard.reshape(-1).reshape(standard.shape)),
        1e-5,
    )
