"""Model files: what goes in comes out, and nothing else gets in."""

import copy
import errno
import hashlib
import io
import json
import os
import pickle
import zipfile
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
import skops.io
import torch
from conftest import small_adhoc, small_pretrained, small_texture
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import Callback

from tbsclassify import (
    DeepTextureFeatures,
    LumbarCropper,
    LumbarLocalizer,
    ModelFileError,
    TBSAdHocRegressor,
    VariogramFeatures,
    classification_row,
    load_model,
    make_clinical_baseline,
    make_radiomics_classifier,
    make_texture_classifier,
    model_card,
    model_info,
    save_model,
)
from tbsclassify.augmentation import RandomAugmentation
from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.persistence import was_trained_on
from tbsclassify.persistence._container import read_model_file


@pytest.fixture(scope="module")
def scans():
    found = make_dxa_phantoms(36, class_shares=(1, 0, 1), random_state=0)
    found.y = (found.tbs < 1.2).astype(int)
    return found


def cropped(model):
    return make_pipeline(LumbarCropper(size=64, scale="fit"), model)


def deep_texture():
    features = DeepTextureFeatures(weights=None, random_state=0)
    return make_pipeline(
        LumbarCropper(size=64, scale="fit"),
        features,
        StandardScaler(),
        LogisticRegression(),
    )


def localized():
    locate = FunctionTransformer(LumbarLocalizer().transform_table)
    texture = VariogramFeatures(), StandardScaler(), LogisticRegression()
    return make_pipeline(locate, LumbarCropper(size=64, scale="fit"), *texture)


MODELS = {
    "ad hoc": lambda: cropped(small_adhoc()),
    "ad hoc, statistics": lambda: cropped(small_adhoc(pooling="statistics", fc=())),
    "full": lambda: cropped(small_pretrained(max_epochs=1)),
    "head": lambda: cropped(small_pretrained(mode="head")),
    "texture": lambda: cropped(small_texture()),
    "regressor": lambda: cropped(
        TBSAdHocRegressor(1, (4,), (8,), max_epochs=2, random_state=0)
    ),
    "features": deep_texture,
    "variogram": make_texture_classifier,
    "radiomics": make_radiomics_classifier,
    "clinical": make_clinical_baseline,
    "localized": localized,
    "sigmoid": lambda: CalibratedClassifierCV(deep_texture(), cv=2),
    "isotonic": lambda: CalibratedClassifierCV(deep_texture(), method="isotonic", cv=2),
    "temperature": lambda: CalibratedClassifierCV(
        deep_texture(), method="temperature", cv=2
    ),
    "threshold": lambda: TunedThresholdClassifierCV(
        make_texture_classifier(), scoring="f1", cv=2
    ),
    "search": lambda: GridSearchCV(
        make_texture_classifier(), {"logisticregression__C": [0.1, 1]}, cv=2
    ),
}


def fit(name, scans):
    model = MODELS[name]()
    if name == "regressor":
        return model.fit(scans.frame, scans.tbs)
    if name == "texture":
        return model.fit(scans.frame, scans.y, tbspretrainedclassifier__tbs=scans.tbs)
    return model.fit(scans.frame, scans.y)


@pytest.fixture(scope="module")
def texture(scans):
    return make_texture_classifier().fit(scans.frame, scans.y)


@pytest.fixture
def saved(texture, tmp_path):
    path = tmp_path / "model.tbsmodel"
    save_model(texture, path)
    return path


def predict(model, scans):
    return getattr(model, "predict_proba", model.predict)(scans.frame)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_predicts_bit_for_bit_alike(name, scans, tmp_path):
    model = fit(name, scans)
    save_model(model, tmp_path / "file")
    assert_array_equal(
        predict(load_model(tmp_path / "file"), scans), predict(model, scans)
    )


@pytest.mark.parametrize("name", ["ad hoc", "head", "texture", "features"])
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_predicts_bit_for_bit_alike(name, again, scans):
    model = fit(name, scans)
    assert_array_equal(predict(again(model), scans), predict(model, scans))


def test_a_file_of_joblib_predicts_bit_for_bit_alike(scans, tmp_path):
    model = fit("texture", scans)
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    assert_array_equal(predict(again, scans), predict(model, scans))


@pytest.mark.parametrize("name", ["ad hoc", "features"])
def test_a_pickle_made_on_a_gpu_is_read_where_there_is_none(name, scans):
    network = fit(name, scans)[1]
    state, attribute = network.__getstate__(), "net_" if name == "ad hoc" else "module_"
    state[attribute]["device"] = f"cuda:{torch.cuda.device_count()}"
    again = type(network).__new__(type(network))
    again.__setstate__(state)
    module = again.net_.module_ if name == "ad hoc" else again.module_
    assert {one.device.type for one in module.state_dict().values()} == {"cpu"}


def test_weights_of_another_network_are_refused(scans):
    network = fit("ad hoc", scans)[1]
    state = network.__getstate__() | {"filters": (5,)}
    with pytest.raises(ValueError, match="got those of another"):
        type(network).__new__(type(network)).__setstate__(state)


def test_a_device_that_is_not_there_is_refused(saved, scans, tmp_path):
    save_model(fit("ad hoc", scans), tmp_path / "file")
    with pytest.raises(ValueError, match="Expected device"):
        load_model(tmp_path / "file", f"cuda:{torch.cuda.device_count()}")


def test_a_model_on_a_gpu_is_loaded_on_the_cpu(scans, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    save_model(fit("ad hoc", scans), tmp_path / "file")
    assert load_model(tmp_path / "file", "cpu")[1].device_ == "cpu"


# What the header says


def test_the_header_tells_counts_but_no_patient(texture, scans, tmp_path):
    patient = np.array([f"Smith-{i // 2}" for i in range(len(scans.y))])
    path = tmp_path / "file"
    save_model(texture, path, X=scans.frame, y=scans.y, groups=patient, tbs=scans.tbs)
    training = model_info(path)["training"]
    assert training["n_scans"] == 36
    assert training["n_patients"] == 18
    assert training["n_with_boxes"] == 36
    assert training["scans_of_class"] == {"0": 18, "1": 18}
    assert training["tbs"]["mean"] == pytest.approx(scans.tbs.mean())
    assert b"Smith" not in path.read_bytes()


@pytest.mark.parametrize(
    "form",
    [
        list,
        lambda X: X[:, np.newaxis],
        lambda X: list(X[:, np.newaxis]),
        lambda X: X.astype(np.uint16),
        lambda X: X.astype(np.int64),
        lambda X: X.astype(np.float32),
        torch.from_numpy,
    ],
    ids=["list", "channel", "channels", "uint16", "int64", "float32", "tensor"],
)
def test_a_file_recognises_scans_of_the_training_in_any_form(scans, tmp_path, form):
    path = tmp_path / "a.tbsmodel"
    save_model(LumbarCropper().fit(scans.frame), path, X=scans.frame[:20])
    found = was_trained_on(path, form(scans.images[[30, 3, 25, 19, 20]]))
    assert found.tolist() == [False, True, False, True, False]


def test_a_file_recognises_levels_that_are_no_integers_in_either_precision(
    scans, tmp_path
):
    levels = (scans.images[:4] / 255).astype(np.float32)
    path = tmp_path / "a.tbsmodel"
    save_model(LumbarCropper().fit(scans.frame), path, X=levels[:2])
    assert was_trained_on(path, levels.astype(float)).tolist() == [
        True,
        True,
        *[False] * 2,
    ]
    assert not was_trained_on(path, scans.images[:2]).any()


def test_a_model_fitted_anew_knows_nothing_of_the_file_it_came_from(scans, tmp_path):
    path, again = tmp_path / "a.tbsmodel", tmp_path / "again.tbsmodel"
    save_model(LumbarCropper().fit(scans.frame[:20]), path, X=scans.frame[:20])
    model = load_model(path).fit(scans.frame[20:])
    save_model(model, again, X=scans.frame[20:])
    assert was_trained_on(path, scans.frame).tolist() == [True] * 20 + [False] * 16
    assert was_trained_on(again, scans.frame).tolist() == [False] * 20 + [True] * 16


def test_a_file_that_knows_no_scans_says_so(scans, tmp_path):
    save_model(LumbarCropper().fit(scans.frame), tmp_path / "a.tbsmodel")
    with pytest.raises(ValueError, match="that knows the scans of its training"):
        was_trained_on(tmp_path / "a.tbsmodel", scans.frame)


@pytest.mark.parametrize("form", ["table", "rows", "array", "sparse"])
def test_rows_that_are_no_scans_leave_no_hashes(tmp_path, form):
    ages = [[71, 1], [64, 0], [80, 1], [58, 0]]
    names = pd.DataFrame({"name": ["Smith", "Jones"] * 2, "age": [71, 64, 80, 58]})
    X = {
        "table": names,
        "rows": ages,
        "array": np.array(ages),
        "sparse": scipy.sparse.csr_array(ages),
    }[form]
    model = LogisticRegression().fit(ages, [1, 0, 1, 0])
    path = tmp_path / "a.tbsmodel"
    save_model(model, path, X=X, y=[1, 0, 1, 0], tbs=[1.1, 1.3, 1.1, 1.3])
    header, _ = read_model_file(path)
    assert "scan_hashes" not in header
    assert {*header["training"]} == {"n_scans", "scans_of_class", "tbs"}
    assert header["training"]["n_scans"] == 4


def test_rows_of_numbers_are_no_scans_to_recognise(scans, tmp_path):
    path = tmp_path / "a.tbsmodel"
    save_model(LumbarCropper().fit(scans.frame), path, X=scans.frame)
    with pytest.raises(ValueError, match="Expected X to hold scans, got rows"):
        was_trained_on(path, np.array([[71, 1], [64, 0]]))


def test_hashes_of_scans_tell_neither_their_order_nor_link_two_models(scans, tmp_path):
    def hashes(size):
        path = tmp_path / "a.tbsmodel"
        save_model(LumbarCropper(size=size).fit(scans.frame), path, X=scans.frame)
        with zipfile.ZipFile(path) as archive:
            text = json.loads(archive.read("header.json"))["scan_hashes"]
        return [text[i : i + 12] for i in range(0, len(text), 12)]

    one, other = hashes(224), hashes(192)
    assert one == sorted(one)
    assert len(one) == len(scans.frame)
    assert not {*one} & {*other}
    assert "scan_hashes" not in model_info(tmp_path / "a.tbsmodel")


def test_the_fingerprint_of_data_is_that_of_grey_levels(scans):
    from PIL import Image

    from tbsclassify.persistence._describe import describe_training
    from tbsclassify.persistence._seen import scan_digests

    def fingerprint(X):
        digests = scan_digests(X)
        about = describe_training(LogisticRegression(), X, None, None, None, digests)
        return about["fingerprint"]

    images = list(scans.images[:2])
    pillow = [Image.fromarray(image) for image in images]
    assert fingerprint(images) == fingerprint(pillow) == fingerprint(scans.images[:2])
    assert fingerprint(images) != fingerprint(images[::-1])


def test_the_header_tells_what_the_model_expects(scans, tmp_path):
    save_model(fit("texture", scans), tmp_path / "file")
    about = model_info(tmp_path / "file")["model"]
    assert about["input"] == {
        "image_shape": [1, 64, 64],
        "depth": "uint8",
        "spacing_mm": pytest.approx([0.6, 0.6]),
    }
    assert about["classes"] == [0, 1]
    assert about["class_names"] == ["normal", "degraded"]
    assert about["learned_tbs"]["thresholds"] == [1.2, 1.35]
    assert about["parameters"]["tbspretrainedclassifier__mode"] == "texture"
    assert about["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_the_header_tells_the_threshold_that_was_chosen(scans, tmp_path):
    model = fit("threshold", scans)
    save_model(model, tmp_path / "file")
    about = model_info(tmp_path / "file")["model"]
    assert about["decision_threshold"] == model.best_threshold_


def test_scores_are_kept_with_their_intervals(texture, scans, tmp_path):
    proba = texture.predict_proba(scans.frame)
    row = classification_row(scans.y, proba, n_bootstrap=20, random_state=0)
    save_model(texture, tmp_path / "file", scores=row)
    scores = model_info(tmp_path / "file")["scores"]
    assert scores["roc_auc"] == row["roc_auc"]
    assert scores["roc_auc_low"] == row["roc_auc_low"]


def test_training_data_of_another_length_are_refused(texture, scans, tmp_path):
    with pytest.raises(ValueError, match="Expected y to hold a value for each of 36"):
        save_model(texture, tmp_path / "file", X=scans.frame, y=scans.y[:-1])
    assert not list(tmp_path.iterdir())


def test_labels_without_scans_are_refused(texture, scans, tmp_path):
    with pytest.raises(ValueError, match="Expected X with the scans"):
        save_model(texture, tmp_path / "file", y=scans.y)


# What a file does not hold


class Follower(Callback):
    """A callback of the user's own."""


def test_paths_caches_and_callbacks_stay_behind(scans, tmp_path):
    folder = tmp_path / "of_this_machine"
    folder.mkdir()
    plain = cropped(small_pretrained(mode="head")).fit(scans.frame, scans.y)
    weights = folder / "weights.pt"
    model = small_pretrained(mode="head", weights=str(weights), callbacks=[Follower()])
    state = plain[1].net_.module_.backbone.state_dict()
    torch.save({f"features.{k}": v for k, v in state.items()}, weights)
    model = cropped(model).fit(scans.frame, scans.y)
    model.set_params(memory=str(folder / "cache"))
    path = tmp_path / "file"
    save_model(model, path)
    assert b"of_this_machine" not in path.read_bytes()
    again = load_model(path)
    assert again[1].weights == "weights.pt"
    assert again[1].callbacks is None
    assert again.memory is None
    assert model[1].weights == str(weights)  # the one saved is as it was
    assert_array_equal(predict(again, scans), predict(model, scans))


# What is refused


def test_an_unfitted_model_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        save_model(make_texture_classifier(), tmp_path / "file")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Expected model to be a fitted"):
        save_model([LogisticRegression()], tmp_path / "file")


def test_a_full_disk_leaves_the_old_file_whole(saved, texture, monkeypatch):
    before = saved.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="Expected path to be a file that can be written"):
        save_model(texture, saved)
    assert saved.read_bytes() == before
    assert [one.name for one in saved.parent.iterdir()] == [saved.name]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "file")


def test_a_folder_is_told(tmp_path):
    with pytest.raises(ModelFileError, match="is a folder"):
        load_model(tmp_path)


def _skops_file(path, model):
    skops.io.dump(model, path)


def _torch_file(path, model):
    torch.save({"a": torch.zeros(2)}, path)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path, model: path.write_bytes(b""), "is empty"),
        (lambda path, model: path.write_text("file,tbs\n"), "is no model file"),
        (lambda path, model: path.write_bytes(pickle.dumps(model)), "is a pickle"),
        (lambda path, model: joblib.dump(model, path, compress=3), "is a pickle"),
        (_torch_file, "is a zip file, but not one that save_model wrote"),
        (_skops_file, "is a zip file, but not one that save_model wrote"),
    ],
    ids=["empty", "text", "pickle", "joblib", "torch", "skops"],
)
def test_a_foreign_file_is_refused_by_what_it_is(write, reason, texture, tmp_path):
    write(tmp_path / "file", texture)
    with pytest.raises(ModelFileError, match=f"file {reason}"):
        load_model(tmp_path / "file")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, saved):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelFileError, match=r"damaged zip file|only a part of one"):
        load_model(saved)


@pytest.mark.parametrize("place", [200, 5000, 20000])
def test_a_changed_byte_is_noticed(place, saved):
    content = bytearray(saved.read_bytes())
    content[place] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ModelFileError):
        load_model(saved)


def rewrite(path, *, header=None, content=None, seal=True, compress=False):
    """Write a model file anew, as somebody might who knows its form."""
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("header.json"))
        content = archive.read("model.skops") if content is None else content
    about |= header or {}
    if seal:
        about["fingerprint"] = hashlib.sha256(content).hexdigest()
        rest = {name: one for name, one in about.items() if name != "checksum"}
        text = json.dumps(rest, sort_keys=True)
        about["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("header.json", json.dumps(about))
        archive.writestr("model.skops", content)


def test_a_changed_header_is_noticed(saved):
    rewrite(saved, header={"scores": {"roc_auc": 1.0}}, seal=False)
    with pytest.raises(ModelFileError, match="was changed after it was saved"):
        model_info(saved)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused(version, saved):
    rewrite(saved, header={"format_version": version})
    with pytest.raises(ModelFileError, match=f"is of format {version!r}.*reads format"):
        load_model(saved)


def test_a_compressed_file_which_may_unpack_to_anything_is_refused(saved):
    rewrite(saved, compress=True)
    with pytest.raises(ModelFileError, match="not one that save_model wrote"):
        load_model(saved)


def test_a_model_that_cannot_be_made_names_the_versions_that_made_it(saved):
    rewrite(saved, content=skops_members(saved, {"schema.json": b"{}"}))
    with pytest.raises(ModelFileError, match=r"saved with python .*, tbsclassify "):
        load_model(saved)


def skops_members(path, replacements):
    """Return the model of a file with some of its members replaced."""
    with zipfile.ZipFile(path) as archive:
        inner = zipfile.ZipFile(io.BytesIO(archive.read("model.skops")))
    buffer = io.BytesIO()
    with inner, zipfile.ZipFile(buffer, "w") as other:
        for name in inner.namelist():
            other.writestr(name, replacements.get(name, inner.read(name)))
    return buffer.getvalue()


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_an_array_with_a_pickle_in_it_runs_nothing(saved, tmp_path):
    attack = np.empty(1, dtype=object)
    attack[0] = Attack(tmp_path / "executed")
    buffer = io.BytesIO()
    np.save(buffer, attack, allow_pickle=True)
    with zipfile.ZipFile(saved) as archive:
        inner = zipfile.ZipFile(io.BytesIO(archive.read("model.skops")))
    arrays = [name for name in inner.namelist() if name.endswith(".npy")]
    replaced = dict.fromkeys(arrays, buffer.getvalue())
    rewrite(saved, content=skops_members(saved, replaced))
    with pytest.raises(ModelFileError, match="holds no model that can be made"):
        load_model(saved)
    assert not (tmp_path / "executed").exists()


def test_a_function_of_another_package_is_refused_by_name(scans, tmp_path):
    attack = partial(os.system, f"touch {tmp_path / 'executed'}")
    model = FunctionTransformer(attack).fit([[0.0]])
    with pytest.warns(UserWarning, match=r"trusted=\['posix.system'\]|nt.system"):
        save_model(model, tmp_path / "file")
    with pytest.raises(ModelFileError, match=r"trusted=\['(posix|nt)\.system'\]"):
        load_model(tmp_path / "file")
    assert not (tmp_path / "executed").exists()


@pytest.mark.filterwarnings("ignore:The model holds types of other")
def test_what_the_user_trusts_is_loaded(scans, tmp_path):
    model = cropped(RandomForestClassifier(3, random_state=0))
    model.steps.insert(1, ("variogram", VariogramFeatures()))
    model.fit(scans.frame, scans.y)
    save_model(model, tmp_path / "file")
    with pytest.raises(ModelFileError, match=r"sklearn\.tree\._tree\.Tree"):
        load_model(tmp_path / "file")
    again = load_model(tmp_path / "file", trusted=["sklearn.tree._tree.Tree"])
    assert_array_equal(predict(again, scans), predict(model, scans))


def test_trusted_has_to_be_a_list(saved):
    with pytest.raises(TypeError, match="Expected trusted to be a list"):
        load_model(saved, trusted="sklearn.tree._tree.Tree")


# Cards


def test_a_card_has_what_is_known_and_names_what_is_not(texture, scans, tmp_path):
    row = {"roc_auc": 0.81234, "roc_auc_low": 0.7, "roc_auc_high": 0.9}
    save_model(texture, tmp_path / "file", X=scans.frame, y=scans.y, scores=row)
    card = model_card(tmp_path / "file")
    assert "| n_scans | 36 |" in card
    assert "| roc_auc | 0.8123 [0.7, 0.9] |" in card
    assert "TRIPOD+AI" in card
    assert "External validation" in card


def test_a_card_of_a_table_of_scores_has_a_column_for_each_model(texture, tmp_path):
    scores = {"a|b": {"f1": 0.5}, "c": {"f1": 0.25}}
    save_model(texture, tmp_path / "file", scores=scores)
    assert "|  | a\\|b | c |\n| --- | --- | --- |\n| f1 | 0.5 | 0.25 |" in model_card(
        tmp_path / "file"
    )


def test_a_card_of_a_model_at_hand_says_what_it_does_not_know(texture):
    assert "Open: not told when the model was saved." in model_card(texture)


# Files that somebody has made


def with_schema(path, change):
    """Rewrite a model file with its plan changed in place."""
    with zipfile.ZipFile(path) as archive:
        inner = zipfile.ZipFile(io.BytesIO(archive.read("model.skops")))
    schema = json.loads(inner.read("schema.json"))
    change(schema)
    text = json.dumps(schema).encode()
    rewrite(path, content=skops_members(path, {"schema.json": text}))


def node(kind, loader, **content):
    module, _, name = kind.rpartition(".")
    return {"__module__": module, "__class__": name, "__loader__": loader, **content}


def listed(*items, **more):
    return node("builtins.list", "ListNode", content=list(items), **more)


def test_parts_in_each_other_many_times_over_do_not_hang(saved):
    def change(schema):
        part = listed(__id__=1)
        for number in range(2, 60):
            again = node("builtins.list", "ListNode", content=[], __id__=number - 1)
            part = listed(part, again, __id__=number)
        schema["content"]["content"]["steps"] = part

    with_schema(saved, change)
    with pytest.raises(ModelFileError, match="two parts under one number"):
        load_model(saved)


def test_a_part_in_place_of_another_is_refused(saved):
    def change(schema):
        cached = node("builtins.list", "CachedNode", __id__=schema["__id__"])
        schema["content"]["content"]["steps"] = listed(cached)

    with_schema(saved, change)
    with pytest.raises(ModelFileError, match="holds a part in place of another"):
        load_model(saved)


def test_keys_of_a_dict_call_no_method(saved):
    def change(schema):
        text = node("builtins.str", "JsonNode", content='"a"', is_json=True)
        localizer = "tbsclassify.localization._localizer.LumbarLocalizer"
        method = node(
            localizer,
            "MethodNode",
            content={"func": "transform_table", "obj": node(localizer, "ObjectNode")},
        )
        schema["content"]["content"]["x"] = node(
            "builtins.dict",
            "DictNode",
            content={"/etc/hostname": text},
            key_types=listed(method),
        )

    with_schema(saved, change)
    with pytest.raises(ModelFileError, match="whose keys are made by calls"):
        load_model(saved)


@pytest.mark.parametrize("loader", ["ConstructorFromReduceNode", "SetNode"])
def test_a_trusted_type_is_not_called_with_arguments(loader, saved):
    def change(schema):
        kind = "tbsclassify.augmentation._random.RandomAugmentation"
        content = listed() if loader == "ConstructorFromReduceNode" else []
        schema["content"]["content"]["x"] = node(kind, loader, content=content)

    with_schema(saved, change)
    with pytest.raises(ModelFileError, match="a call of tbsclassify"):
        load_model(saved)


def test_a_file_that_names_a_class_by_an_earlier_path_loads(scans, tmp_path):
    model = small_adhoc(augmentation=RandomAugmentation(rotation=3))
    model.fit(scans.images[:, :64, :64], scans.y)
    save_model(model, tmp_path / "model.tbs")

    def move_back(schema):
        part = schema["content"]["content"]["augmentation"]
        assert part["__module__"] == "tbsclassify.augmentation._random"
        part["__module__"] = "tbsclassify.augmentation"

    with_schema(tmp_path / "model.tbs", move_back)
    assert load_model(tmp_path / "model.tbs").augmentation.rotation == 3


def test_a_directory_that_points_before_the_file_is_refused(saved):
    content = bytearray(saved.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 16 : end + 20] = (len(content) * 2).to_bytes(4, "little")
    saved.write_bytes(content)
    with pytest.raises(ModelFileError):
        load_model(saved)


@pytest.mark.parametrize(
    "header",
    [
        {"model": None},
        {"model": {}},
        {"model": {"versions": {}}},
        {"scores": 0.8},
        {"training": 3},
    ],
)
def test_a_card_of_a_strange_header_is_refused(header, saved):
    rewrite(saved, header=header)
    with pytest.raises(ModelFileError, match="header"):
        model_card(saved)


def test_a_name_in_a_card_starts_no_html_and_no_line(saved):
    about = model_info(saved)["model"] | {"estimator": "A\n\n<script>"}
    rewrite(saved, header={"model": about})
    assert model_card(saved).startswith("# Model card: A &lt;script>\n")


# What users do


def test_paths_that_a_search_has_tried_stay_behind(scans, tmp_path):
    folder = tmp_path / "of_this_machine"
    grid = [{"memory": [str(folder / "a"), str(folder / "b")]}]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(model, grid, cv=2).fit(scans.tbs[:, np.newaxis], scans.y)
    save_model(search, tmp_path / "file")
    assert b"of_this_machine" not in (tmp_path / "file").read_bytes()


def test_a_model_that_requests_metadata_is_saved(scans, tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        network = small_adhoc().set_fit_request(groups=True)
        model = cropped(network).fit(scans.frame, scans.y, groups=range(36))
    save_model(model, tmp_path / "file")
    again = load_model(tmp_path / "file")
    assert again[1].get_metadata_routing().fit.requests["groups"] is True
    assert_array_equal(predict(again, scans), predict(model, scans))


def test_scores_without_names_are_refused(texture, tmp_path):
    with pytest.raises(TypeError, match="Expected scores to be a Series"):
        save_model(texture, tmp_path / "file", scores=0.83)


def test_a_model_that_holds_itself_is_refused(texture, tmp_path):
    model = copy.deepcopy(texture)
    model.itself = model
    with pytest.raises(TypeError, match="has no form without pickle"):
        save_model(model, tmp_path / "file")


def test_a_model_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file model\.tbs"):
        load_model(tmp_path / "model.tbs")
