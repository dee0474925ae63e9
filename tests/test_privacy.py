"""Nothing that a DICOM file says of the patient comes out of the library."""

import numpy as np
import pandas as pd
import pydicom
import pytest
from identity import IDENTITY, OF_THE_DEVICE, identified_dicom, nothing_told, told
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

from tbsclassify import (
    LumbarCropper,
    LumbarLocalizer,
    TBSAdHocClassifier,
    check_scans,
    check_vertebrae,
    export_onnx,
    load_model,
    load_scans,
    make_dxa_phantoms,
    make_texture_classifier,
    model_card,
    model_info,
    read_scan,
    save_model,
)
from tbsclassify._dicom import _TAGS
from tbsclassify.cli import app
from tbsclassify.images import UnreadableScanError

# What describes the device is handed on as it is written.
ELEMENTS = ["SpecificCharacterSet", *sorted({*_TAGS} - {*OF_THE_DEVICE})]
PIXELS = make_dxa_phantoms(1, random_state=0).images[0]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(identified_dicom(PIXELS))
    return path


def _read(path):
    scan, metadata = read_scan(path, return_metadata=True)
    assert np.array_equal(scan, PIXELS)
    return metadata


def _load(path):
    table = pd.DataFrame({"file": [path.name], "patient": ["p1"], "tbs": [1.3]})
    return dict(load_scans(table, path.parent))


def _locate(path):
    return LumbarLocalizer().transform_table(pd.DataFrame({"image": [path]})).to_dict()


def _save(path):
    """Fit on the file and another scan, save, load, describe and export."""
    other = np.ascontiguousarray(PIXELS[:, ::-1])
    X, y = [path, other] * 4, [0, 1] * 4
    network = TBSAdHocClassifier(1, (2,), (), max_epochs=1, random_state=0)
    model = make_pipeline(LumbarCropper(size=32, scale="fit"), network).fit(X, y)
    files = [path.parent / name for name in ("model", "model.onnx")]
    patients = np.arange(8)
    save_model(model, files[0], X=X, y=y, groups=patients, scores={"f1": 0.5})
    export_onnx(model, files[1])
    told = [file.read_bytes().decode("latin-1") for file in files]
    return *told, model_card(files[0]), model_info(files[0]), load_model(files[0])


USES = {
    "read_scan": _read,
    "load_scans": _load,
    "check_scans": lambda path: check_scans([path]).to_dict(),
    "check_vertebrae": lambda path: check_vertebrae([path]).to_dict(),
    "LumbarCropper": lambda path: LumbarCropper(size=64).fit_transform([path]),
    "LumbarLocalizer": _locate,
    "save_model": _save,
}


def test_the_file_is_full_of_identity(path):
    text = path.read_bytes().decode("latin-1")
    assert all(text.count(one) > 1000 for one in IDENTITY)
    dataset = pydicom.dcmread(path)
    assert "Garcia" in str(dataset.PatientName)
    assert "Garcia" in dataset.PatientComments
    assert "Garcia" in str(dataset.RequestAttributesSequence[0].PatientName)
    assert "Garcia" in str(dataset[0x0009, 0x1001].value)


@pytest.mark.parametrize("use", USES)
def test_identity_goes_nowhere(path, use, capfd, caplog):
    with nothing_told(capfd, caplog) as said:
        result = USES[use](path)
        said.append(repr(result))
    assert "Traceback" not in said[0]


@pytest.mark.parametrize("use", ["read_scan", "load_scans", "check_scans"])
@pytest.mark.parametrize("element", ELEMENTS)
def test_identity_in_place_of_any_value_goes_nowhere(
    tmp_path, element, use, capfd, caplog
):
    path = tmp_path / "scan.dcm"
    text = b"Garcia\\Maria\\PAT-4711\\19480229"
    for vr in (None, "LO"):
        path.write_bytes(identified_dicom(PIXELS, vr=vr, **{element: text}))
        with nothing_told(capfd, caplog) as said:
            said.append(repr(USES[use](path)))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_identity_in_a_truncated_file_goes_nowhere(tmp_path, share, capfd, caplog):
    data = identified_dicom(PIXELS)
    path = tmp_path / "scan.dcm"
    path.write_bytes(data[: int(share * len(data))])
    with nothing_told(capfd, caplog):
        read_scan(path)
    with pytest.raises(UnreadableScanError):
        read_scan(path)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Return a model that was trained on phantoms."""
    scans = make_dxa_phantoms(12, class_shares=(1, 0, 1), random_state=0)
    model = make_texture_classifier().fit(scans.frame, (scans.tbs < 1.2).astype(int))
    path = tmp_path_factory.mktemp("model") / "model.tbs"
    save_model(model, path, X=scans.frame)
    return path


def _folder_of_identity(folder):
    """Write scans full of identity, two of them damaged, and their table."""
    other = np.ascontiguousarray(PIXELS[:, ::-1])
    for i in range(8):
        pixels = np.roll(other if i % 2 else PIXELS, i, axis=0)
        (folder / f"{i}.dcm").write_bytes(identified_dicom(pixels))
    data = identified_dicom(PIXELS)
    (folder / "cut.dcm").write_bytes(data[: len(data) - 1000])
    text = b"Garcia\\Maria\\PAT-4711\\19480229"
    damaged = identified_dicom(PIXELS, vr="LO", PixelSpacing=text, Rows=text)
    (folder / "damaged.dcm").write_bytes(damaged)
    table = pd.DataFrame({"file": [f"{i}.dcm" for i in range(8)]})
    table["patient"], table["tbs"] = range(8), [1.1, 1.3] * 4
    table.to_csv(folder / "scans.csv", index=False)
    bad = pd.DataFrame({"file": ["cut.dcm", "damaged.dcm"], "patient": 9, "tbs": 1.1})
    pd.concat([table, bad]).to_csv(folder / "bad.csv", index=False)


COMMANDS = {
    "train": "train scans.csv . --model texture --folds 2 --out out.tbs",
    "train with bad rows": "train bad.csv . --model texture --out out.tbs",
    "train without bad rows": "train bad.csv . --model texture --folds 0 "
    "--skip-bad-rows --out out.tbs",
    "evaluate": "evaluate MODEL scans.csv . --out out.json",
    "evaluate with bad rows": "evaluate MODEL bad.csv . --out out.json",
    "predict a folder": "predict MODEL . --out out.csv",
    "predict a table": "predict MODEL bad.csv --out out.parquet",
    "locate": "locate . --out out.csv",
    "compare": "compare scans.csv . --models texture --folds 2 --out out.csv "
    "--checkpoint-dir runs",
    "info": "info 0.dcm",
    "a DICOM file as a table": "train 0.dcm . --out out.tbs",
    "a DICOM file as a table of names": "predict MODEL 0.csv --out out.csv",
    "a DICOM file as the table of another run": "predict MODEL . --out 1.csv",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_tells_nothing_of_identity(
    name, model_file, tmp_path, monkeypatch, capfd, caplog
):
    _folder_of_identity(tmp_path)
    for copy in ("0.csv", "1.csv"):
        (tmp_path / copy).write_bytes((tmp_path / "0.dcm").read_bytes())
    before = set(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    words = [str(model_file) if w == "MODEL" else w for w in COMMANDS[name].split()]
    with nothing_told(capfd, caplog) as said:
        result = CliRunner().invoke(app, words, prog_name="tbsclassify")
        assert result.exception is None or isinstance(result.exception, SystemExit)
        said += [result.stdout, result.stderr]
        for path in sorted(set(tmp_path.rglob("*")) - before):
            if path.is_file():
                said += [path.name, path.read_bytes().decode("latin-1")]
    assert any(said)


def test_the_check_sees_what_is_told(capfd, caplog):
    with pytest.raises(AssertionError), nothing_told(capfd, caplog) as said:
        said.append("metadata of garcia")
    with pytest.raises(AssertionError), nothing_told(capfd, caplog):
        raise ValueError("no date: '19480229'")
    with pytest.raises(AssertionError), nothing_told(capfd, caplog):
        print("PAT-4711")
    assert told(["a scan"]) == []
