"""What a run is recognised by, and files that several processes may write."""

import json
import os
import re
import subprocess
import sys
import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_adhoc
from ray import tune
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer, log_loss, make_scorer
from sklearn.model_selection import RandomizedSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tbsclassify import LumbarCropper, _checkpoint, _files
from tbsclassify._checkpoint import Checkpoint
from tbsclassify._files import write_whole
from tbsclassify._fingerprint import fingerprint

# The same values, made in this process and in others.
VALUES = """
import re
from functools import partial
import numpy as np, pandas as pd, torch
from ray import tune
from scipy.stats import loguniform, norm, randint
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def scaled(factor):
    def inner(x, *, shift=1):
        return factor * np.abs(x) + shift
    return inner

class Custom:
    def __init__(self): self.value = {"b", "a"}
    def call(self): return super().__hash__()

bfloat = torch.tensor([1.5, 2.0], dtype=torch.bfloat16)
VALUES = [
    {"a", "b", "c"}, frozenset({"x", 1, (2,)}), {"b": 1, "a": {2, 3}},
    np.array([{"k": [1]}, "text", None], dtype=object),
    pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.array([1, None], "Int64")}),
    pd.Series(["a", "b"], dtype="category"), pd.array([True, None], "boolean"),
    make_pipeline(StandardScaler(), LogisticRegression(C=2)),
    scaled(3), (lambda x: x in {"p", "q", "r"}), partial(scaled, 2), Custom(),
    np.random.RandomState(3), np.random.default_rng(3), torch.arange(3.0), bfloat,
    tune.loguniform(1e-4, 1), tune.choice(["a", "b"]), tune.sample_from(lambda s: 1),
    get_scorer("f1"), make_scorer(accuracy_score), StratifiedGroupKFold(3),
    re.compile("a+", re.IGNORECASE), np.dtype("f4"), np.float64, torch.float32,
    loguniform(1e-4, 1), loguniform(1e-3, 1), randint(1, 5), norm,
    pd.Timestamp("2020"), pd.NaT, pd.Timedelta("1D"),
    pd.Series(pd.to_datetime(["2020", "2021"]).tz_localize("UTC")),
    torch.nn.Linear, np.mean, np.add, len, range(3), slice(1, 2), {1: 2}.get, ...,
]
"""


def made_here():
    space = {"__name__": "__main__"}
    exec(VALUES, space)
    return space["VALUES"]


def test_equal_values_have_equal_digests_in_any_process():
    code = VALUES + (
        "from tbsclassify._fingerprint import fingerprint\n"
        "print(*map(fingerprint, VALUES))\n"
    )
    # Sets are in another order there.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    there = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": seed},
    ).stdout.split()
    assert there == [*map(fingerprint, made_here())]
    assert len({*there}) == len(there)


def test_equal_values_made_twice_have_equal_digests():
    for one, two in zip(made_here(), made_here(), strict=True):
        assert fingerprint(one) == fingerprint(two), one


class Weighted:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, y, p):
        return self.weight * accuracy_score(y, p)


def closing_over(number):
    return lambda x: x * number


DIFFERENT = {
    "kinds of one": [True, 1, 1.0, 1 + 0j, "1", b"1", None, [1], {1}, {1: 1}],
    "nesting": [[1, [2]], [[1], 2], [[1, 2]], [1, 2], [[1], [2]]],
    "mappings": [{1: "a"}, {"1": "a"}, {1: "b"}, {"a": 1}, {}, {(): ()}],
    "dtypes": [np.zeros(2, dtype) for dtype in ("f4", "f8", "i4", "i8", "?", "U1")],
    "shapes": [np.zeros(shape) for shape in [(), 1, 4, (4, 1), (2, 2), (0, 2), (2, 0)]],
    "objects": [
        np.array(value, dtype=object) for value in (None, [None], [[1, 2]], [[1], [2]])
    ],
    "times": [np.array([d], "M8[D]") for d in ("2020-01-01", "2020-01-02", "NaT")],
    "masks": [np.ma.array([1, 2], mask=mask) for mask in ([0, 0], [0, 1])],
    "records": [np.array([(1, 2)], [(name, "i4"), ("b", "i4")]) for name in "ac"],
    "tables": [
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"b": [1, 2]}),
        pd.DataFrame({"a": [1, 3]}),
        pd.DataFrame({"a": [1, 2]}, dtype="Int64"),
        pd.DataFrame({"a": [1, 2]}, dtype="Float64"),
        pd.DataFrame({"a": [1, 2]}, index=[1, 0]),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[2, 1]], columns=["a", "a"]),
    ],
    "columns": [
        pd.Series([1, 0], dtype="category"),
        pd.Series(pd.Categorical([1, 0], categories=[1, 0])),
        pd.Series(pd.Categorical([1, 0], ordered=True)),
        pd.Series([1, 0]),
        pd.array([1, 0], dtype="Int64"),
        pd.array([1, None], dtype="Int64"),
    ],
    "estimators": [
        LogisticRegression(),
        LogisticRegression(C=2),
        make_pipeline(LogisticRegression()),
        StandardScaler(),
        LogisticRegression,
    ],
    "functions": [
        lambda x: x + 1,
        lambda x: x + 2,
        lambda x, y=1: x + y,
        lambda x, y=2: x + y,
        lambda x, *, y=2: x + y,
        closing_over(1),
        closing_over(2),
        partial(closing_over, 1),
        partial(closing_over, number=1),
        closing_over,
        np.mean,
        np.add,
        len,
        [1].append,
        [2].append,
    ],
    "scorers": [
        get_scorer("f1"),
        make_scorer(accuracy_score),
        make_scorer(accuracy_score, greater_is_better=False),
        make_scorer(log_loss, response_method="predict_proba"),
        make_scorer(log_loss, response_method="predict_proba", labels=[0, 1]),
        Weighted(1),
        Weighted(2),
    ],
    "random states": [
        np.random.RandomState(0),
        np.random.RandomState(1),
        np.random.default_rng(0),
        np.random.default_rng(1),
    ],
    "tensors": [
        torch.zeros(2),
        torch.zeros(2, 1),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.ones(2, dtype=torch.bfloat16),
    ],
    "domains": [
        tune.uniform(0, 1),
        tune.uniform(0, 2),
        tune.loguniform(1, 2),
        tune.choice([1, 2]),
        tune.choice([2, 1]),
        tune.grid_search([1, 2]),
        tune.sample_from(lambda spec: 1),
        tune.sample_from(lambda spec: 2),
    ],
    "splitters": [StratifiedGroupKFold(n) for n in (3, 4)],
    "patterns": [re.compile("a"), re.compile("a", re.IGNORECASE), re.compile("b")],
}


@pytest.mark.parametrize("values", DIFFERENT.values(), ids=DIFFERENT)
def test_different_values_have_different_digests(values):
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([1, 2], (1, 2)),
        ({"a": 1, "b": 2}, OrderedDict(b=2, a=1)),
        (np.int64(3), 3),
        (np.asfortranarray([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]])),
        (np.arange(6)[::2], np.array([0, 2, 4])),
        (np.array(["a"], "U9"), np.array(["a"], "U1")),
        (torch.arange(6)[::2], torch.tensor([0, 2, 4])),
        (Path("a/b"), "a/b"),
        (pd.DataFrame({"a": [1, 2, 3]})[:2], pd.DataFrame({"a": [1, 2]})),
        (small_adhoc(), clone(small_adhoc())),
    ],
)
def test_values_that_mean_the_same_have_the_same_digest(one, two):
    assert fingerprint(one) == fingerprint(two)


@pytest.mark.parametrize("nested", [False, True])
def test_a_clone_that_requests_metadata_has_the_same_digest(nested):
    with config_context(enable_metadata_routing=True):
        model = small_adhoc().set_fit_request(groups=True)
        other = small_adhoc().set_fit_request(groups=False)
        if nested:
            model, other = make_pipeline(model), make_pipeline(other)
        assert fingerprint(model) == fingerprint(clone(clone(model)))
        assert fingerprint(model) != fingerprint(other)


def test_the_state_of_numpys_generator_is_no_part_of_a_distribution():
    value = RandomizedSearchCV(LogisticRegression(), {"C": loguniform(1e-3, 1)})
    before = fingerprint(value)
    np.random.rand()  # noqa: NPY002
    assert fingerprint(clone(value)) == before


def test_sharing_a_part_or_not_makes_no_difference():
    filters = (4, 8)
    shared = [small_adhoc(filters=filters), small_adhoc(filters=filters)]
    assert fingerprint(shared) == fingerprint([clone(model) for model in shared])


def test_a_value_that_holds_itself_has_a_digest():
    one, two = [1], [2]
    one.append(one)
    two.append(two)
    assert fingerprint(one) != fingerprint(two)


def module_with(text):
    space = {"__name__": "a_user_s_script"}
    exec(text, space)
    return space


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 1", "LIMIT = 2"),
        ("return x + LIMIT", "return x - LIMIT"),
        ("def helper(x): return x", "def helper(x): return -x"),
    ],
)
@pytest.mark.parametrize("made", ["function", "Class", "instance"])
def test_changed_code_of_a_user_changes_the_digest(before, after, made):
    text = """
LIMIT = 1
calls = []
def helper(x): return x
def function(x):
    calls.append(x)
    x = helper(x)
    return x + LIMIT
class Class:
    def method(self, x): return function(x)
instance = Class()
"""
    old, same, new = (
        module_with(one) for one in (text, text, text.replace(before, after))
    )
    same["calls"].append(3)  # a log is not part of what a function does
    assert fingerprint(old[made]) == fingerprint(same[made])
    assert fingerprint(old[made]) != fingerprint(new[made])


def rewrite(path, seconds=5):
    """Change a file's time alone, as writing the same number of bytes does."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))


@pytest.mark.parametrize(
    "holding",
    [
        str,
        Path,
        lambda path: [path],
        lambda path: np.array([str(path)]),
        lambda path: np.array([path], dtype=object),
        lambda path: pd.DataFrame({"image": [str(path)]}),
        lambda path: pd.Series([path]),
        lambda path: small_adhoc().set_params(device=str(path)),
        lambda path: make_pipeline(
            LumbarCropper(), FunctionTransformer(kw_args={"weights": path})
        ),
    ],
)
@pytest.mark.parametrize("change", [rewrite, lambda path: path.write_bytes(b"longer")])
def test_a_file_counts_with_its_size_and_time_wherever_it_is_named(
    tmp_path, holding, change
):
    path = tmp_path / "scan.png"
    path.write_bytes(b"pixels")
    value = holding(path)
    before = fingerprint(value)
    assert fingerprint(holding(path)) == before
    change(path)
    assert fingerprint(value) != before


@pytest.mark.parametrize("text", ["a\0b", "x" * 10_000, "\ud800"])
def test_a_text_that_can_be_no_path_is_a_text(text):
    assert fingerprint(text) != fingerprint(text[:-1])


def test_what_has_no_value_is_refused_with_what_to_do():
    with (
        open(os.devnull) as file,
        pytest.raises(
            TypeError, match=r"TextIOWrapper cannot be rec.* Leave checkpoints"
        ),
    ):
        fingerprint([file])


# Folders


def test_arrays_come_back_under_their_name(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new" / "folder", {"data": 1})
    assert checkpoint.read("b") is None
    checkpoint.write("b", {"x": np.arange(3), "text": "words"})
    checkpoint.write("a", {"y": 1.5})
    assert checkpoint.names() == ["a", "b"]
    assert checkpoint.read("b")["x"].tolist() == [0, 1, 2]
    assert str(checkpoint.read("b")["text"]) == "words"


def test_a_folder_of_other_values_or_names_is_refused(tmp_path):
    Checkpoint(tmp_path, {"data": 1, "models": 2})
    Checkpoint(tmp_path, {"models": 2, "data": 1})
    with pytest.raises(ValueError, match="holds a run with other models"):
        Checkpoint(tmp_path, {"data": 1, "models": 3})
    with pytest.raises(ValueError, match=r"with other models\. To resume"):
        Checkpoint(tmp_path, {"data": 1})
    with pytest.raises(ValueError, match=r"with other space\. To resume"):
        Checkpoint(tmp_path, {"data": 1, "models": 2, "space": 1})


def test_another_version_of_a_package_is_refused(tmp_path, monkeypatch):
    Checkpoint(tmp_path, {"data": 1})
    monkeypatch.setattr(_checkpoint, "version", lambda package: "0.0")
    with pytest.raises(ValueError, match="other version of tbsclassify, version of"):
        Checkpoint(tmp_path, {"data": 1})


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Expected checkpoint_dir to be a folder that"):
        Checkpoint(tmp_path / "file", {"data": 1})


def test_a_folder_that_can_be_read_only_is_refused_even_to_resume(
    tmp_path, monkeypatch
):
    Checkpoint(tmp_path, {"data": 1})

    def refuse(*arguments, **options):
        raise PermissionError("read only")

    monkeypatch.setattr(_checkpoint, "write_whole", refuse)
    with pytest.raises(OSError, match=r"can be written to, got .* \(read only\)"):
        Checkpoint(tmp_path, {"data": 1})


def test_a_manifest_of_something_else_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("<html>")
    with pytest.raises(ValueError, match="was not written by this library"):
        Checkpoint(tmp_path, {"data": 1})


def test_a_write_that_fails_leaves_nothing(tmp_path):
    def write(file):
        file.write(b"half")
        raise RuntimeError("disk full")

    (tmp_path / "kept").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="disk full"):
        write_whole(tmp_path / "kept", write)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"old"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_there_is_left_as_it_is_if_asked(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(_files, "_link", lambda source, target: False)
    for text in (b"first", b"second"):
        write_whole(tmp_path / "a", lambda file, t=text: file.write(t), replace=False)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_many_threads_may_write_the_same_file(tmp_path):
    errors = []
    mask = os.umask(0o077)
    os.umask(mask)

    def work(number):
        try:
            for _ in range(20):
                checkpoint = Checkpoint(tmp_path, {"data": 1})
                checkpoint.write("one", {"x": np.full(50, number)})
                found = checkpoint.read("one")["x"]
                assert len(set(found.tolist())) == 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "one.npz",
    ]
    assert os.umask(mask) == mask
    assert (tmp_path / "one.npz").stat().st_mode & 0o777 == 0o666 & ~mask
    json.loads((tmp_path / "manifest.json").read_text())


def test_a_folder_of_another_kind_of_run_is_named_as_such(tmp_path):
    Checkpoint(tmp_path, {"data": 1, "models": 2})
    with pytest.raises(ValueError, match="run of another kind, which depends on data"):
        Checkpoint(tmp_path, {"X": 1, "estimator": 2})


@pytest.mark.parametrize("n_bytes", [0, 2, 100])
def test_a_damaged_file_counts_as_none(tmp_path, n_bytes):
    checkpoint = Checkpoint(tmp_path, {"data": 1})
    checkpoint.write("fit", {"proba": np.ones(3)})
    file = tmp_path / "fit.npz"
    file.write_bytes(file.read_bytes()[:n_bytes])
    assert checkpoint.read("fit") is None
