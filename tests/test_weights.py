"""Weights from files, and what happens to those that do not fit."""

import pickle

import numpy as np
import pytest
import torch
import torchvision
from conftest import shared, small_pretrained
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.datasets import load_sample_image

from tbsclassify.estimators._inputs import colour_statistics
from tbsclassify.estimators._networks import PAPER_BACKBONES, PretrainedNetwork
from tbsclassify.estimators._weights import (
    imagenet_weights,
    load_weights,
    torchvision_model,
)


@pytest.fixture(scope="module")
def squeezenet_state():
    torch.manual_seed(1)
    return torchvision.models.squeezenet1_1(weights=None).state_dict()


def save(state, folder, name):
    file = folder / name
    (save_file if file.suffix == ".safetensors" else torch.save)(state, file)
    return file


@pytest.mark.parametrize("name", ["whole.safetensors", "whole.pth"])
def test_a_state_dict_is_loaded_whole(name, squeezenet_state, tmp_path):
    model = torchvision_model("squeezenet1_1", save(squeezenet_state, tmp_path, name))
    loaded = model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in squeezenet_state.items())


def test_half_precision_becomes_single(squeezenet_state, tmp_path):
    half = {key: value.half() for key, value in squeezenet_state.items()}
    model = torchvision_model("squeezenet1_1", save(half, tmp_path, "half.safetensors"))
    weight = model.features[0].weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, half["features.0.weight"].float())


def test_a_backbone_alone_is_enough(squeezenet_state, tmp_path, recwarn):
    backbone = {k: v for k, v in squeezenet_state.items() if k.startswith("features.")}
    file = save(backbone, tmp_path, "backbone.pth")
    model = torchvision_model("squeezenet1_1", file)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in backbone.items())
    assert not recwarn.list


def test_a_head_of_other_classes_is_passed_over(squeezenet_state, tmp_path):
    head = {
        "classifier.1.weight": torch.zeros(7, 512, 1, 1),
        "classifier.1.bias": torch.zeros(7),
    }
    file = save(squeezenet_state | head, tmp_path, "seven.pth")
    model = torchvision_model("squeezenet1_1", file)
    assert model.classifier[1].out_channels == 1000


def test_layers_left_at_random_are_warned_of(squeezenet_state, tmp_path):
    state = dict(squeezenet_state)
    del state["features.0.weight"]
    file = save(state, tmp_path, "partial.pth")
    with pytest.warns(UserWarning, match=r"for 1 of the 52 .*'features.0.weight'"):
        torchvision_model("squeezenet1_1", file)


def test_the_first_shape_that_does_not_fit_is_named_with_both(
    squeezenet_state, tmp_path
):
    state = dict(squeezenet_state)
    state["features.0.weight"] = torch.zeros(96, 3, 7, 7)
    file = save(state, tmp_path, "other.pth")
    message = r"'features.0.weight'.*\(64, 3, 3, 3\).*got \(96, 3, 7, 7\)"
    with pytest.raises(ValueError, match=message):
        torchvision_model("squeezenet1_1", file)


def test_a_key_of_another_network_is_named(squeezenet_state, tmp_path):
    file = save(squeezenet_state, tmp_path, "squeezenet.pth")
    with pytest.raises(ValueError, match=r"keys of ResNet, .* got 'features.0.weight'"):
        torchvision_model("resnet18", file)


def test_old_names_in_files_of_densenet_are_understood(tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.densenet121(weights=None)
    state = model.state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in state.items()
    }
    assert old.keys() != state.keys()
    with pytest.warns(UserWarning, match="untrained network"):  # which it is
        loaded = torchvision_model("densenet121", save(old, tmp_path, "old.pth"))
    loaded = loaded.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_trained_statistics_of_batch_normalisation_raise_no_warning(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    state["bn1.running_mean"] = torch.randn(64)
    torchvision_model("resnet18", save(state, tmp_path, "trained.pth"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_file(
    value, squeezenet_state, tmp_path, spines
):
    state = squeezenet_state | {"features.0.bias": torch.full((64,), value)}
    model = small_pretrained(weights=save(state, tmp_path, "damaged.pth"))
    with pytest.raises(ValueError, match=r"'damaged.pth', got NaN .*features.0.bias"):
        model.fit(spines.X, spines.y)


def test_cached_weights_that_are_not_finite_are_refused(
    squeezenet_state, tmp_path, monkeypatch, spines
):
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    state = squeezenet_state | {"features.0.bias": torch.full((64,), np.nan)}
    save(state, cache, "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = small_pretrained(weights="imagenet")
    with pytest.raises(ValueError, match=r"initial weights, .*'backbone.0.bias'"):
        model.fit(spines.X, spines.y)


class _Code:
    def __reduce__(self):
        return (print, ("code of the file ran",))


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(_Code()), b"", b"not weights", np.zeros(3).tobytes()],
    ids=["pickled code", "empty", "text", "numbers"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_are_refused_and_no_code_is_run(content, suffix, tmp_path, capsys):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is not a readable"):
        torchvision_model("squeezenet1_1", file)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [{}, [torch.zeros(2)], {"epoch": 3}])
def test_what_is_no_state_dict_is_refused(content, tmp_path):
    file = tmp_path / "checkpoint.pth"
    torch.save(content, file)
    with pytest.raises(ValueError, match="holds no state dict"):
        torchvision_model("squeezenet1_1", file)


def test_a_classifier_starts_from_the_weights_of_a_file(
    squeezenet_state, tmp_path, spines
):
    file = save(squeezenet_state, tmp_path, "weights.safetensors")
    model = small_pretrained(weights=file, mode="head", max_epochs=1)
    model.fit(spines.X, spines.y)
    backbone = model.net_.module_.backbone.state_dict()
    assert torch.equal(backbone["0.weight"], squeezenet_state["features.0.weight"])
    assert model.intensity_mean_[0] == pytest.approx(255 * 0.485)


@pytest.mark.parametrize("name", ["theirs", "squeezenet1_1.safetensors"])
def test_a_folder_has_the_file_of_a_network_under_its_name_or_that_of_torchvision(
    name, squeezenet_state, spines, tmp_path
):
    if name == "theirs":
        name = imagenet_weights("squeezenet1_1").url.rpartition("/")[2]
    model = small_pretrained(weights=tmp_path, mode="head", max_epochs=1)
    with pytest.raises(FileNotFoundError, match=f"one of .*{name}"):
        model.fit(spines.X, spines.y)
    save(squeezenet_state, tmp_path, name)
    by_folder = model.fit(spines.X, spines.y).predict_proba(spines.X)
    by_file = clone(model).set_params(weights=tmp_path / name).fit(spines.X, spines.y)
    np.testing.assert_array_equal(by_folder, by_file.predict_proba(spines.X))


# --- Real weights ------------------------------------------------------------


def classify(name, photograph):
    """Return the names of the five likeliest of the 1000 classes."""
    model = getattr(torchvision.models, name)(weights=None)
    load_weights(model, shared("weights", f"{name}.safetensors"))
    entry = torchvision.models.get_model_weights(name).DEFAULT
    image = entry.transforms()(Image.fromarray(photograph))[None]
    with torch.inference_mode():
        best = model.eval()(image)[0].topk(5).indices
    return [entry.meta["categories"][i] for i in best]


def test_a_photograph_of_an_officer_shows_a_military_uniform():
    matplotlib = pytest.importorskip("matplotlib")
    folder = f"{matplotlib.get_data_path()}/sample_data"
    with Image.open(f"{folder}/grace_hopper.jpg") as photograph:
        assert classify("resnet18", np.array(photograph))[0] == "military uniform"


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1", "resnet18"])
def test_a_photograph_of_a_chinese_tower_shows_a_place_of_worship_or_rule(name):
    seen = classify(name, load_sample_image("china.jpg"))
    assert seen[0] in ("bell cote", "monastery", "palace", "stupa")


@pytest.mark.parametrize(
    ("name", "n_random"),
    [("squeezenet1_0", 0), ("alexnet", 4), ("vgg16", 4)],
)
def test_real_backbones_are_loaded(name, n_random, recwarn):
    file = shared("weights", f"{name}_features.safetensors")
    model = torchvision_model(name, file)
    state = load_file(file)
    assert all(torch.equal(model.state_dict()[k], v.float()) for k, v in state.items())
    counted = [str(w.message) for w in recwarn.list]
    assert len(counted) == (n_random > 0)
    assert all(f"no weights for {n_random} of" in text for text in counted)


def one_channel_network(name):
    """Build a network of torchvision whose first convolution takes one channel."""
    torch.manual_seed(1)
    model = torchvision.models.get_model(name, weights=None).eval()
    path, stem = next(
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    )
    options = {"stride": stem.stride, "padding": stem.padding}
    options["bias"] = stem.bias is not None
    grey = torch.nn.Conv2d(1, stem.out_channels, stem.kernel_size, **options)
    model.set_submodule(path, grey)
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(std=0.01)  # as of a network that was trained
    return model


@pytest.mark.filterwarnings("ignore:.*holds no weights for:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "vgg16" else [])
        for name in PAPER_BACKBONES
    ],
)
def test_a_file_of_a_one_channel_network_responds_to_grey_scans_as_it_did(
    name, tmp_path
):
    model = one_channel_network(name)
    state = model.state_dict()
    # Fully connected layers, of half a gigabyte, are none of the first layer's.
    state = {key: v for key, v in state.items() if not key.startswith("classifier")}
    file = save(state, tmp_path, "grey.safetensors")
    scans = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64)).astype(np.uint8)
    mean, std = colour_statistics(scans, name, file)
    ours = PretrainedNetwork(
        name, (1, 64, 64), mean, std, 2, weights=file, dropout=0.0, head_only=True
    ).eval()
    expected = (torch.from_numpy(scans) / 255 - 0.449) / 0.226
    model.fc = torch.nn.Identity()  # of ResNet, which has no features
    whole = getattr(model, "features", model)
    part = getattr(ours.backbone, "features", ours.backbone)
    with torch.inference_mode():
        responses = part(ours.standardize(torch.from_numpy(scans)))
        torch.testing.assert_close(responses, whole(expected), rtol=1e-4, atol=1e-5)


def test_a_one_channel_file_decides_how_grey_levels_are_normalised(tmp_path):
    file = save(one_channel_network("squeezenet1_1").state_dict(), tmp_path, "grey.pth")
    scans = np.random.default_rng(0).integers(0, 256, (8, 64, 64)).astype(np.uint8)
    model = small_pretrained(weights=file, max_epochs=1, mode="head")
    model.fit(scans, np.tile([0, 1], 4))
    np.testing.assert_allclose(model.intensity_mean_, 3 * [0.449 * 255])
    np.testing.assert_allclose(model.intensity_std_, 3 * [0.226 * 255])


def test_a_one_channel_file_that_is_damaged_is_refused(tmp_path):
    state = one_channel_network("squeezenet1_1").state_dict()
    state["features.0.weight"][0, 0, 0, 0] = np.nan
    file = save(state, tmp_path, "grey.safetensors")
    with pytest.raises(ValueError, match=r"infinite values in 'features\.0\.weight'"):
        torchvision_model("squeezenet1_1", file)


def test_a_first_layer_of_two_channels_is_refused(tmp_path):
    state = one_channel_network("squeezenet1_1").state_dict()
    state["features.0.weight"] = state["features.0.weight"].repeat(1, 2, 1, 1)
    file = save(state, tmp_path, "two.safetensors")
    with pytest.raises(ValueError, match=r"have shape \(64, 3, 3, 3\) for SqueezeNet"):
        torchvision_model("squeezenet1_1", file)
