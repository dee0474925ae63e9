import pytest
import torch
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tbsclassify.estimators._networks import (
    PAPER_MODELS,
    AdHocCNN,
    PretrainedNetwork,
    check_backbone,
)

# Total parameters of the two-class network, and those of its new layer.
BACKBONES = {
    "alexnet": (57_012_034, 8_194),
    "resnet18": (11_177_538, 1_026),
    "vgg16": (134_268_738, 8_194),
    "densenet121": (6_955_906, 2_050),
    "squeezenet1_0": (736_450, 1_026),
}


def n_trainable(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def make_backbone(name, *, device="meta", side=224, **parameters):
    defaults = {"weights": None, "dropout": 0.4, "head_only": False}
    with torch.device(device):
        return PretrainedNetwork(
            name, (1, side, side), [0.0] * 3, [1.0] * 3, 2, **defaults | parameters
        )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("model1", 3_399_937),
        ("model2", 10_872_701),
        ("model3", 2_169_401),
        ("model4", 24_349_377),
    ],
)
def test_ad_hoc_models_have_the_papers_number_of_parameters(name, count):
    model = PAPER_MODELS[name]
    with torch.device("meta"):
        network = AdHocCNN((1, 224, 224), model["filters"], model["fc"], 1)
    assert n_trainable(network) == count


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_have_the_papers_number_of_parameters(name):
    assert n_trainable(make_backbone(name)) == BACKBONES[name][0]
    assert n_trainable(make_backbone(name, head_only=True)) == BACKBONES[name][1]


@pytest.mark.parametrize("name", BACKBONES)
def test_dropout_of_the_asked_share_stands_right_before_the_head(name):
    network = make_backbone(name, dropout=0.25)
    dropout, layer = network.head[:2]
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.25


def test_a_frozen_backbone_keeps_its_statistics_and_draws_no_dropout():
    network = make_backbone("resnet18", device="cpu", side=64, head_only=True)
    network.train()
    before = {
        name: value.clone()
        for name, value in network.state_dict().items()
        if "head." not in name
    }
    network(torch.randn(4, 3, 64, 64))
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert network.head.training
    assert not network.backbone.layer1.training


@given(st.integers(1, 5), st.integers(4, 130), st.integers(4, 130))
@settings(deadline=None, max_examples=40)
def test_images_either_pass_the_blocks_or_are_refused(blocks, height, width):
    smallest = {1: 4, 2: 10, 3: 22, 4: 46, 5: 94}[blocks]
    shape = (1, height, width)
    if min(height, width) < smallest:
        with pytest.raises(ValueError, match=f"at least {smallest} x {smallest}"):
            AdHocCNN(shape, (2,) * blocks, (), 1)
        return
    network = AdHocCNN(shape, (2,) * blocks, (), 1)
    assert network(torch.zeros(2, *shape)).shape == (2, 1)


def test_the_error_for_small_images_gives_the_arithmetic():
    with pytest.raises(ValueError, match="9 x 14 after block 1, 3 x 6 after block 2"):
        AdHocCNN((1, 20, 30), (2, 2, 2), (), 1)


def test_images_too_small_for_a_backbone_are_refused_with_the_smallest_side():
    with pytest.raises(ValueError, match="from 21 x 21 pixels on"):
        make_backbone("squeezenet1_0", device="cpu", side=20)


def test_an_unknown_backbone_lists_the_near_ones():
    with pytest.raises(ValueError, match="Did you mean 'resnet18'"):
        check_backbone("resnet_18")


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_32"]
)
def test_other_torchvision_networks_get_a_new_head(name):
    network = make_backbone(name, head_only=True).eval()
    with torch.device("meta"):
        assert network(torch.empty(2, 3, 224, 224)).shape == (2, 2)
    assert 0 < n_trainable(network) < 10_000


def test_missing_weights_offline_name_file_folder_and_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _raise_offline, raising=True)
    with pytest.raises(OSError, match="random weights with weights=None") as info:
        make_backbone("resnet18", device="cpu", weights="imagenet")
    assert "resnet18-f37072fd.pth" in str(info.value)
    assert str(tmp_path / "hub" / "checkpoints") in str(info.value)


def _raise_offline(*args, **kwargs):
    raise OSError("no route to host")


def test_cached_imagenet_weights_are_loaded(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    state = load_file(shared("weights", "resnet18.safetensors"))
    state = {name: value.float() for name, value in state.items()}
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(state, cache / "resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = make_backbone("resnet18", device="cpu", side=64, weights="imagenet")
    assert torch.equal(network.backbone.conv1.weight, state["conv1.weight"])
    assert network.head[1].out_features == 2
