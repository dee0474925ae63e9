"""Archives of scans: every file once, whatever happens on the way."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import small_texture
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tbsclassify import (
    LumbarCropper,
    LumbarLocalizer,
    TBSLabeler,
    make_dxa_phantoms,
    make_texture_classifier,
)
from tbsclassify.archive import locate_archive, path_of, predict_archive
from tbsclassify.archive._names import cell_of
from tbsclassify.archive._reading import read_ahead

SIDE = 64


def means(crops):
    return np.column_stack([crops.mean(axis=(1, 2)), crops.std(axis=(1, 2))]) / 100


def cheap(last, **cropping):
    return make_pipeline(
        LumbarCropper(SIDE, **cropping), FunctionTransformer(means), last
    )


@pytest.fixture(scope="module")
def scans():
    scans = make_dxa_phantoms(
        40, size=(96, 100), class_shares=(1, 0, 1), random_state=0
    )
    # Pixels of 1.8 mm, which are for tests only, are none of a densitometer's.
    scans.frame[["row_spacing", "column_spacing"]] = 0.6
    return scans


@pytest.fixture(scope="module")
def y(scans):
    return TBSLabeler().fit_transform(scans.tbs)


@pytest.fixture(scope="module")
def model(scans, y):
    return cheap(LogisticRegression()).fit(scans.frame[["image"]], y)


@pytest.fixture(scope="module")
def network(scans, y):
    """A network that has learned TBS."""
    pipeline = make_pipeline(LumbarCropper(SIDE), small_texture(device="cpu"))
    return pipeline.fit(
        scans.frame[["image"]], y, tbspretrainedclassifier__tbs=scans.tbs
    )


@pytest.fixture
def folder(scans, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for i, image in enumerate(scans.images):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    return folder


# What the table says


def test_the_table_has_what_the_model_predicts(model, scans, folder, tmp_path):
    result = predict_archive(model, folder, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert list(table) == [
        *("file", "class", "probability_0", "probability_1"),
        *("row_spacing", "column_spacing", "model", "error"),
    ]
    assert table["file"].tolist() == [str(one) for one in sorted(folder.iterdir())]
    X = scans.frame[["image"]]
    assert_array_equal(table["class"], model.predict(X))
    proba = table[["probability_0", "probability_1"]]
    assert_allclose(proba, model.predict_proba(X), rtol=1e-5)
    assert table["error"].isna().all()
    assert (result.n_files, result.n_scored, result.n_failed) == (40, 40, 0)


def test_a_network_that_has_learned_tbs_tells_it_with_its_spread(
    network, scans, folder, tmp_path
):
    predict_archive(network, folder, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    X = scans.frame[["image"]]
    tbs, std = network[-1].predict_tbs(network[0].transform(X), return_std=True)
    assert_allclose(table["tbs"], tbs, rtol=1e-5)
    assert_allclose(table["tbs_std"], std, rtol=1e-5)
    assert_allclose(table["probability_1"], network.predict_proba(X)[:, 1], rtol=1e-5)
    assert_array_equal(table["class"], network.predict(X))


def test_a_regressor_gives_tbs(scans, folder, tmp_path):
    model = cheap(Ridge()).fit(scans.frame[["image"]], scans.tbs)
    predict_archive(model, folder, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert "class" not in table
    assert "tbs_std" not in table
    X = scans.frame[["image"]]
    assert_allclose(table["tbs"], model.predict(X), rtol=1e-5)


def test_a_table_brings_boxes_and_pixel_sizes_and_columns(scans, y, folder, tmp_path):
    model = cheap(LogisticRegression(), scale="fit").fit(scans.frame, y)
    table = scans.frame.drop(columns="image").assign(
        file=[f"{i:02d}.png" for i in range(40)]
    )
    table.to_csv(folder / "scans.csv", index=False)
    predict_archive(model, folder / "scans.csv", tmp_path / "scores.csv")
    found = pd.read_csv(tmp_path / "scores.csv")
    assert found["file"].tolist() == table["file"].tolist()
    proba = model.predict_proba(scans.frame)[:, 1]
    assert_allclose(found["probability_1"], proba, rtol=1e-5)
    assert_allclose(found["row_spacing"], table["row_spacing"], rtol=1e-5)
    predict_archive(model, table, tmp_path / "again.csv", image_dir=folder)
    assert (tmp_path / "again.csv").read_bytes() == (
        tmp_path / "scores.csv"
    ).read_bytes()


def test_boxes_that_the_cropper_looks_for_come_with_confidences(tmp_path):
    scans = make_dxa_phantoms(8, class_shares=(1, 0, 1), random_state=0)
    y = TBSLabeler().fit_transform(scans.tbs)
    X = scans.frame[["image"]]
    model = cheap(LogisticRegression(), boxes="auto", scale="fit").fit(scans.frame, y)
    for i in range(2):
        Image.fromarray(scans.images[i]).save(tmp_path / f"{i}.png")
    Image.fromarray(np.full((200, 200), 9, np.uint8)).save(tmp_path / "2.png")
    with pytest.warns(UserWarning, match="found with a confidence below 0.5") as told:
        predict_archive(model, tmp_path, tmp_path / "scores.csv")
    assert len(told) == 1
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["level_confidence"].notna().all()
    assert table.loc[2, "place_confidence"] < 0.5 < table.loc[0, "place_confidence"]
    proba = model.predict_proba(X.iloc[:2])[:, 1]
    assert_allclose(table["probability_1"][:2], proba, rtol=1e-5)
    model[0].set_params(unsure="raise")
    predict_archive(model, tmp_path, tmp_path / "strict.csv")
    table = pd.read_csv(tmp_path / "strict.csv")
    assert "not found with a confidence of 0.5" in table.loc[2, "error"]
    assert_allclose(table["probability_1"][:2], proba, rtol=1e-5)


def test_confidences_of_a_localizer_in_the_pipeline_are_told(tmp_path):
    scans = make_dxa_phantoms(8, class_shares=(1, 0, 1), random_state=0)
    locate = FunctionTransformer(LumbarLocalizer().transform_table)
    model = make_pipeline(locate, make_texture_classifier())
    X = scans.frame[["image"]]
    model.fit(X, scans.tbs < 1.2)
    for i in range(2):
        Image.fromarray(scans.images[i]).save(tmp_path / f"{i}.png")
    predict_archive(model, tmp_path, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["level_confidence"].between(0, 1).all()
    proba = model.predict_proba(X.iloc[:2])
    assert_allclose(table["probability_True"], proba[:, 1], rtol=1e-5)


# Always the same


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 7, "n_jobs": 1}])
def test_the_table_depends_neither_on_batches_nor_on_threads(
    options, network, folder, tmp_path
):
    (folder / "05.png").write_bytes(b"")
    (folder / "bad.png").write_bytes(b"no image")
    predict_archive(network, folder, tmp_path / "one.csv")
    predict_archive(network, folder, tmp_path / "two.csv", **options)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_scan_scores_the_same_whatever_else_is_scored(network, folder, tmp_path):
    predict_archive(network, folder, tmp_path / "all.csv")
    some = sorted(folder.iterdir())[3:30:5]
    predict_archive(network, some, tmp_path / "some.csv")
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert set((tmp_path / "some.csv").read_text().splitlines()) <= set(lines)


# Bad files


def test_a_bad_file_is_a_row_with_its_reason_and_stops_nothing(
    model, scans, folder, tmp_path
):
    predict_archive(model, folder, tmp_path / "before.csv")
    before = (tmp_path / "before.csv").read_text().splitlines()
    (folder / "03.png").write_bytes(b"")
    (folder / "04.png").write_bytes((folder / "04.png").read_bytes()[:300])
    (folder / "05.png").write_text("no image")
    result = predict_archive(model, folder, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    errors = table["error"].dropna()
    assert errors.index.tolist() == [3, 4, 5]
    assert errors[3] == "is empty (0 bytes)"
    assert "truncated" in errors[4]
    assert "not a readable PNG" in errors[5]
    assert result.n_failed == 3
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert [*lines[:4], *lines[7:]] == [*before[:4], *before[7:]]


def test_scans_that_the_model_refuses_are_rows_with_its_reason(
    network, folder, tmp_path
):
    predict_archive(network, folder, tmp_path / "before.csv")
    before = (tmp_path / "before.csv").read_text().splitlines()
    deep = np.full((90, 90), 3000, np.uint16)
    Image.fromarray(deep).save(folder / "10.png")
    predict_archive(network, folder, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert "uint16" in lines[11]
    assert lines[:11] + lines[12:] == before[:11] + before[12:]


def test_a_scan_without_the_pixel_size_that_the_model_needs_is_a_row(
    scans, y, folder, tmp_path
):
    model = cheap(LogisticRegression(), spacing=0.85).fit(scans.frame, y)
    table = scans.frame.drop(columns="image").iloc[:20]
    table = table.assign(file=[f"{i:02d}.png" for i in range(20)])
    predict_archive(model, table, tmp_path / "before.csv", image_dir=folder)
    table.loc[[2, 9], ["row_spacing", "column_spacing"]] = np.nan
    predict_archive(model, table, tmp_path / "scores.csv", image_dir=folder)
    before, found = (
        pd.read_csv(tmp_path / f"{name}.csv") for name in ("before", "scores")
    )
    assert found.index[found["error"].notna()].tolist() == [2, 9]
    assert "pixel size" in found.loc[2, "error"]
    assert "index" not in found.loc[2, "error"]
    fine = found["error"].isna()
    pd.testing.assert_frame_equal(found[fine], before[fine], check_dtype=False)


def test_what_a_table_gets_wrong_about_one_file_is_a_row(
    model, scans, folder, tmp_path
):
    table = scans.frame.drop(columns="image").iloc[:4]
    table = table.assign(file=["00.png", "absent.png", "02.png", "03.png"])
    table["L1_top"] = table["L1_top"].astype(object)
    table.loc[2, "L1_top"] = "top"
    table.loc[3, "L2_bottom"] = -1
    with pytest.warns(UserWarning, match="fitted on scans without boxes"):
        predict_archive(model, table, tmp_path / "scores.csv", image_dir=folder)
    errors = pd.read_csv(tmp_path / "scores.csv")["error"]
    assert pd.isna(errors[0])
    assert errors[1] == "there is no such file"
    assert errors[2] == "L1_top is not a number"
    assert "ends before it begins" in errors[3]


def test_a_file_in_two_rows_is_scored_once_and_said_to_be_there_twice(
    model, folder, tmp_path
):
    names = ["00.png", "01.png", "00.png", "", "00.png", ""]
    table = pd.DataFrame({"file": names})
    out = tmp_path / "scores.csv"
    result = predict_archive(model, table, out, image_dir=folder)
    assert (result.n_files, result.n_scored, result.n_failed) == (6, 2, 4)
    twice, nameless = "the file is listed in an earlier row", "no file name"
    errors = pd.read_csv(out)["error"]
    assert errors.isna().tolist() == [True, True, *[False] * 4]
    assert errors[2:].tolist() == [twice, nameless, twice, nameless]
    whole = out.read_bytes()
    for n_lines in range(6):  # of a run that was stopped between rows of one file
        out.write_bytes(b"".join(whole.splitlines(keepends=True)[: n_lines + 1]))
        result = predict_archive(model, table, out, image_dir=folder)
        assert (out.read_bytes(), result.n_skipped) == (whole, n_lines)
    assert predict_archive(model, table, out, image_dir=folder).n_failed_before == 4


def test_a_file_whose_name_differs_in_case_is_named(model, folder, tmp_path):
    table = pd.DataFrame({"file": ["00.png", "01.PNG"]})
    predict_archive(model, table, tmp_path / "scores.csv", image_dir=folder)
    reason = pd.read_csv(tmp_path / "scores.csv")["error"][1]
    assert reason.startswith("there is no such file, but 01.png (upper and lower")


def test_a_folder_without_any_file_of_a_table_is_one_error(model, folder, tmp_path):
    table = pd.DataFrame({"file": ["00.png", "01.png"]})
    out = tmp_path / "scores.csv"
    with pytest.raises(FileNotFoundError, match=r"image_dir.*absent', where there is"):
        predict_archive(model, table, out, image_dir=tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty', which has none of the 2"):
        predict_archive(model, table, out, image_dir=tmp_path / "empty")
    assert not out.exists()


class Broken(ClassifierMixin, BaseEstimator):
    """A model that no scan is to blame for."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        raise RuntimeError("of no use")


def test_a_model_that_fails_on_all_scans_is_an_error(scans, y, folder, tmp_path):
    broken = cheap(Broken()).fit(scans.frame[["image"]], y)
    with pytest.raises(RuntimeError, match="of no use"):
        predict_archive(broken, folder, tmp_path / "scores.csv")


def test_warnings_are_told_at_once_and_counted_and_bad_files_of_them_do_not_raise(
    scans, y, folder, tmp_path
):
    model = cheap(LogisticRegression()).fit(scans.frame[["image"]], y)
    for i in range(3):
        colours = np.zeros((90, 90, 3), np.uint8)
        colours[:5, :5, 0] = 200
        Image.fromarray(colours).save(folder / f"0{i}.png")
    with pytest.warns(UserWarning, match=r"coloured") as told:
        predict_archive(model, folder, tmp_path / "scores.csv")
    first, others = (str(one.message) for one in told)
    assert others == f"2 more such warnings: {first}"


# Going on


def test_a_table_that_was_cut_anywhere_is_completed_to_the_same_bytes(
    network, folder, tmp_path
):
    out = tmp_path / "scores.csv"
    predict_archive(network, folder, out)
    whole = out.read_bytes()
    for length in (0, 10, whole.index(b"\n") + 1, 700, 1000, len(whole) - 1):
        out.write_bytes(whole[:length])
        n_lines = max(0, whole[:length].count(b"\n") - 1)
        result = predict_archive(network, folder, out, batch_size=16)
        assert out.read_bytes() == whole
        assert (result.n_skipped, result.n_scored) == (n_lines, 40 - n_lines)


def test_a_finished_table_is_left_alone_and_new_files_are_added(
    model, folder, tmp_path
):
    out = tmp_path / "scores.csv"
    predict_archive(model, folder, out)
    before, changed = out.read_text(), out.stat().st_mtime_ns
    assert predict_archive(model, folder, out).n_skipped == 40
    assert out.stat().st_mtime_ns == changed
    (folder / "00a.png").write_bytes((folder / "00.png").read_bytes())
    assert predict_archive(model, folder, out).n_scored == 1
    assert out.read_text().startswith(before)
    lines = out.read_text().splitlines()
    assert lines[-1].partition(",")[2] == lines[1].partition(",")[2]


SCRIPT = """
import sys
import time

import joblib

from tbsclassify import predict_archive

predict_archive(
    joblib.load(sys.argv[1]),
    sys.argv[2],
    sys.argv[3],
    batch_size=4,
    progress=lambda done, total: time.sleep(0.2),
)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing can be killed")
def test_after_a_kill_no_file_is_scored_twice_and_none_is_left_out(
    scans, y, folder, tmp_path
):
    model = make_texture_classifier().fit(scans.frame[["image"]], y)
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    predict_archive(model, folder, whole)
    joblib.dump(model, tmp_path / "model.joblib")
    command = [sys.executable, "-c", SCRIPT, tmp_path / "model.joblib", folder, out]
    process = subprocess.Popen(command)
    until = time.monotonic() + 120
    while not out.exists() or out.read_bytes().count(b"\n") < 9:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_lines = out.read_bytes().count(b"\n") - 1
    assert 8 <= n_lines < 40
    result = predict_archive(model, folder, out)
    assert (result.n_skipped, result.n_scored) == (n_lines, 40 - n_lines)
    assert out.read_bytes() == whole.read_bytes()


def test_a_parquet_file_that_was_not_finished_is(model, folder, tmp_path):
    predict_archive(model, folder, tmp_path / "scores.csv")
    predict_archive(model, folder, tmp_path / "whole.parquet")
    lines = (tmp_path / "scores.csv").read_bytes()
    out, part = tmp_path / "scores.parquet", tmp_path / "scores.parquet.part"
    part.write_bytes(lines[:900])
    assert predict_archive(model, folder, out).n_skipped == lines[:900].count(b"\n") - 1
    assert not part.exists()
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_table_of_another_run_is_refused_with_the_reason(
    model, network, scans, y, folder, tmp_path
):
    out = tmp_path / "scores.csv"
    other = cheap(LogisticRegression(C=0.1)).fit(scans.frame[["image"]], y)
    predict_archive(model, folder, out)
    before = out.read_bytes()
    for wrong, files, reason in [
        (other, folder, "another model"),
        (network, folder, "other columns"),
        (model, [folder / "00.png"], "row 1 is of a file that is not among files"),
    ]:
        with pytest.raises(ValueError, match=reason):
            predict_archive(wrong, files, out)
        assert out.read_bytes() == before
    assert predict_archive(other, folder, out, resume=False).n_scored == 40


@pytest.mark.parametrize("content", [b"my notes", b"a,b\n1,2\n", b"\xff\xfe\0", b"\n"])
def test_a_file_that_is_no_such_table_is_refused_and_kept(
    content, model, folder, tmp_path
):
    out = tmp_path / "scores.csv"
    out.write_bytes(content)
    with pytest.raises(ValueError, match="Expected out to be a new file"):
        predict_archive(model, folder, out)
    assert out.read_bytes() == content


def test_a_full_disk_leaves_whole_lines_and_the_run_goes_on_later(
    model, folder, tmp_path, monkeypatch
):
    out, whole = tmp_path / "scores.csv", tmp_path / "whole.csv"
    predict_archive(model, folder, whole)
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*scores\.csv"):
        predict_archive(model, folder, out, batch_size=8)
    monkeypatch.undo()
    text = out.read_text()
    assert text.endswith("\n")
    assert len(text.splitlines()) == 17
    predict_archive(model, folder, out)
    assert out.read_bytes() == whole.read_bytes()


def test_a_tbs_of_no_lumbar_spine_is_warned_of_at_once_and_counted(
    scans, folder, tmp_path
):
    model = cheap(DummyRegressor(strategy="constant", constant=-0.5))
    model.fit(scans.frame[["image"]], scans.tbs)
    with pytest.warns(UserWarning, match=r"00\.png: .* outside 0.5-2.0") as caught:
        predict_archive(model, folder, tmp_path / "scores.csv")
    assert len(caught) == 2
    assert str(caught[1].message).startswith("39 more such warnings: 00.png: the TBS")


def test_patterns_take_each_file_once_whatever_links_lead_to_it(
    model, folder, tmp_path
):
    (folder / "loop").symlink_to(".", target_is_directory=True)
    out = tmp_path / "scores.csv"
    assert predict_archive(model, str(folder / "**" / "*.png"), out).n_files == 40
    assert "loop" not in out.read_text()


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_a_table_beside_the_scans_is_no_scan_when_the_call_is_made_again(
    name, model, folder
):
    for _ in range(2):
        result = predict_archive(model, str(folder / "3*"), folder / f"3_{name}")
    assert (result.n_files, result.n_skipped) == (10, 10)


def test_two_tables_are_refused_as_such(model, tmp_path):
    with pytest.raises(ValueError, match="Expected one table, or scans, got 2 tables"):
        predict_archive(model, ["a.csv", "b.csv"], tmp_path / "scores.csv")


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_two_runs_at_once_do_not_mix_their_lines(name, model, folder, tmp_path):
    out, whole = tmp_path / name, tmp_path / f"whole-{name}"
    predict_archive(model, folder, whole)

    def run_another(n_done, n_files):
        if n_done == 8:
            predict_archive(model, folder, out)

    with pytest.raises(OSError, match="something else has changed meanwhile"):
        predict_archive(model, folder, out, batch_size=8, progress=run_another)
    out.with_name(f"{name}.part").unlink(missing_ok=True)
    assert out.read_bytes() == whole.read_bytes()


def test_bad_files_of_an_earlier_call_are_counted(model, folder, tmp_path):
    (folder / "bad.png").write_bytes(b"")
    out = tmp_path / "scores.csv"
    first = predict_archive(model, folder, out)
    assert (first.n_failed, first.n_failed_before) == (1, 0)
    again = predict_archive(model, folder, out)
    assert (again.n_failed, again.n_failed_before, again.n_skipped) == (0, 1, 41)


def test_a_parquet_file_that_is_refused_leaves_nothing_beside_it(
    model, network, folder, tmp_path
):
    out = tmp_path / "scores.parquet"
    predict_archive(model, folder, out)
    with pytest.raises(ValueError, match="other columns"):
        predict_archive(network, folder, out)
    assert [one.name for one in tmp_path.glob("scores*")] == ["scores.parquet"]


def test_parquet_holds_the_same_as_csv_and_takes_new_files(model, folder, tmp_path):
    (folder / "07.png").write_bytes(b"")
    predict_archive(model, folder, tmp_path / "scores.csv")
    out = tmp_path / "scores.parquet"
    predict_archive(model, folder, out)

    (folder / "99.png").write_bytes((folder / "00.png").read_bytes())
    assert predict_archive(model, folder, out).n_skipped == 40
    assert predict_archive(model, folder, tmp_path / "scores.csv").n_scored == 1
    found = pd.read_parquet(out)
    assert found["probability_1"].dtype == np.float64
    found.to_csv(tmp_path / "found.csv", index=False)
    assert (tmp_path / "found.csv").read_text() == (tmp_path / "scores.csv").read_text()


# Files and their names


def test_folders_are_searched_for_scans_and_nothing_else(folder, model, tmp_path):
    (folder / "notes.txt").write_text("no scan")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "deeper" / "still").mkdir(parents=True)
    for name in ("SCAN.PNG", "1.2.840.1"):
        (folder / "deeper" / "still" / name).write_bytes(b"\0" * 128 + b"DICM")
    os.symlink(folder, folder / "deeper" / "loop")
    predict_archive(model, folder, tmp_path / "scores.csv")
    found = pd.read_csv(tmp_path / "scores.csv")["file"]
    assert [os.path.relpath(one, folder) for one in found[40:]] == [
        os.path.join("deeper", "still", "1.2.840.1"),
        os.path.join("deeper", "still", "SCAN.PNG"),
    ]


def test_patterns_and_files_come_in_order_and_once(folder, model, tmp_path):
    files = [str(folder / "3*.png"), folder / "31.png", folder / "02.png"]
    result = predict_archive(model, files, tmp_path / "scores.csv")
    found = pd.read_csv(tmp_path / "scores.csv")["file"]
    assert [Path(one).stem for one in found] == [*map(str, range(30, 40)), "02"]
    assert result.n_files == 11


@pytest.mark.parametrize(
    ("files", "error", "reason"),
    [
        ("absent.png", FileNotFoundError, "'absent.png', where there is nothing"),
        ("absent/*.png", FileNotFoundError, "matches none"),
        ([], ValueError, "got none"),
        ([3], TypeError, "got int at index 0"),
        (3, TypeError, "got int"),
        (pd.DataFrame({"path": ["a"]}), ValueError, "no column 'file'"),
        (pd.DataFrame({"file": ["a", "b"]}), FileNotFoundError, "'.', which has none"),
    ],
)
def test_files_that_are_not_there_are_an_error(files, error, reason, model, tmp_path):
    with pytest.raises(error, match=reason):
        predict_archive(model, files, tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_odd_names_are_one_line_each_and_lead_back_to_their_file(
    model, folder, tmp_path, monkeypatch
):
    names = [b"a\nb.png", b"\xff.png", b"=1+1.png", b"back\\slash.png", b'a,"b".png']
    names += ["\u202ereversed.png".encode(), b"-o.png", b"tab\t.png", b"\r.png"]
    other = tmp_path / "other"
    other.mkdir()
    for name in names:
        with open(os.path.join(os.fsencode(other), name), "wb") as file:
            file.write((folder / "00.png").read_bytes())
    monkeypatch.chdir(other)
    predict_archive(model, sorted(map(os.fsdecode, names)), tmp_path / "scores.csv")
    text = (tmp_path / "scores.csv").read_bytes().decode()
    assert len(text.split("\n")) == len(names) + 2
    rows = list(csv.DictReader(text.splitlines()))
    assert not any(row["error"] for row in rows)
    assert all(row["file"][0] not in "=+-@\t\r" for row in rows)
    expected = {os.stat(name).st_ino for name in names}
    assert {os.stat(path_of(row["file"])).st_ino for row in rows} == expected
    assert predict_archive(
        model, sorted(map(os.fsdecode, names)), tmp_path / "scores.csv"
    ).n_skipped == len(names)


@given(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name))
def test_any_name_survives_the_way_into_a_cell_and_back(name):
    path = os.fsdecode(name)
    cell = cell_of(path)
    assert cell.isprintable()
    assert os.path.normpath(path_of(cell)) == os.path.normpath(path)


def test_nothing_of_a_header_but_the_pixel_size_is_written(
    model, scans, folder, tmp_path
):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    image = scans.images[0]
    data.Rows, data.Columns = image.shape
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 7, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = image.tobytes()
    data.PixelSpacing = [0.6, 0.5]
    secret = "SECRET"
    data.PatientName = data.PatientID = data.InstitutionName = secret
    data.AccessionNumber = data.StudyDescription = secret
    data.save_as(folder / "one.dcm")
    whole = (folder / "one.dcm").read_bytes()
    (folder / "two.dcm").write_bytes(whole[: len(whole) // 2])
    predict_archive(model, folder, tmp_path / "scores.csv")
    text = (tmp_path / "scores.csv").read_text()
    assert secret not in text
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table.loc[40, ["row_spacing", "column_spacing"]].tolist() == [0.6, 0.5]
    assert pd.notna(table.loc[41, "error"])


# Arguments, memory, progress


@pytest.mark.parametrize(
    ("wrong", "error", "reason"),
    [
        ({"out": "scores.xlsx"}, ValueError, r"\.csv or \.parquet, got 'scores.xlsx'"),
        ({"engine": "spark"}, ValueError, "'local', 'ray'"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"image_dir": "x"}, ValueError, "image_dir=None"),
        ({"model": LumbarCropper()}, TypeError, "got LumbarCropper"),
        ({"model": cheap(LogisticRegression())}, NotFittedError, "not fitted"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_read(
    wrong, error, reason, model, folder, tmp_path
):
    arguments = {"model": model, "files": folder, "out": tmp_path / "scores.csv"}
    with pytest.raises(error, match=reason):
        predict_archive(**arguments | wrong)


def test_no_more_than_three_batches_are_held(folder):
    asked = []

    def batches():
        for i in range(10):
            asked.append(i)
            yield [str(folder / f"{i:02d}.png")]

    for n_had, (_, readings) in enumerate(read_ahead(batches(), lambda batch: batch)):
        assert readings[0].image is not None
        assert len(asked) <= n_had + 3


def test_progress_is_told_after_each_batch(model, folder, tmp_path):
    told = []
    predict_archive(
        model,
        folder,
        tmp_path / "scores.csv",
        batch_size=16,
        progress=lambda *numbers: told.append(numbers),
    )
    assert told == [(16, 40), (32, 40), (40, 40)]


# Boxes


def test_locating_gives_a_table_that_scans_are_loaded_and_scored_by(tmp_path):
    scans = make_dxa_phantoms(3, random_state=0)
    for i, image in enumerate(scans.images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"")
    result = locate_archive(tmp_path, tmp_path / "boxes.csv")
    assert (result.n_scored, result.n_failed) == (3, 1)
    table = pd.read_csv(tmp_path / "boxes.csv")
    off = (
        table.loc[:2, ["L1_top", "L4_bottom"]].to_numpy()
        - scans.boxes[:, [0, 3], [0, 2]]
    )
    assert (np.abs(off) < 15).all()
    assert table.loc[3, "error"] == "is empty (0 bytes)"
    assert table.loc[:2, "column_contrast"].min() > 0.2
    locate_archive(tmp_path / "boxes.csv", tmp_path / "again.csv", image_dir="/")
    again = pd.read_csv(tmp_path / "again.csv")
    names = [name for name in table if name[:2] in ("L1", "L2", "L3", "L4")]
    pd.testing.assert_frame_equal(again[names], table[names])
