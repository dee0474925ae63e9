"""The command line: what it prints, writes and returns."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from typer.testing import CliRunner

import tbsclassify
from tbsclassify import read_scan
from tbsclassify.cli import app

COMMANDS = [
    *("demo", "phantoms", "train", "evaluate", "predict"),
    *("locate", "compare", "tune", "info"),
]
runner = CliRunner()


def run(*arguments, code=0):
    result = runner.invoke(
        app, [str(one) for one in arguments], prog_name="tbsclassify"
    )
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder with phantoms, and a model trained on them."""
    folder = tmp_path_factory.mktemp("data") / "data"
    run("phantoms", folder, "--patients", 60)
    return folder


@pytest.fixture(scope="module")
def trained(data):
    """Return a model file, and what `train` said."""
    out = data.parent / "model.tbs"
    arguments = ("--model", "texture", "--folds", 3, "--out", out)
    result = run("train", data / "scans.csv", data / "images", *arguments)
    return out, result


def test_reports_of_dicom_files_alone_hold_their_patients(trained, data, tmp_path):
    pytest.importorskip("highdicom")
    from test_dicom_out import IDENTITY, write_source

    scans = pd.read_csv(data / "scans.csv").head(2)
    pixels = read_scan(data / "images" / scans["file"][0])
    rows, columns = pixels.shape
    size = {"Rows": rows, "Columns": columns, "PixelData": pixels.tobytes()}
    write_source(tmp_path / "scan.dcm", **size)
    (tmp_path / "0.png").write_bytes((data / "images" / scans["file"][0]).read_bytes())
    scans["file"] = ["scan.dcm", "0.png"]
    scans.to_csv(tmp_path / "scans.csv", index=False)
    out, reports = tmp_path / "scores.csv", tmp_path / "reports"
    arguments = ("-o", out, "--dicom-sr", reports)
    result = run("predict", trained[0], tmp_path / "scans.csv", *arguments)
    assert "1 of 2 scored files are no DICOM files" in result.stderr
    found = {one.Modality: one for one in map(pydicom.dcmread, reports.iterdir())}
    assert {*found} == {"SR", "SEG"}
    assert {str(one.PatientName) for one in found.values()} == {"Garcia^Maria"}
    assert len(found["SEG"].SegmentSequence) == 4
    text = result.output + out.read_text()
    assert not [one for one in IDENTITY if one in text]


# Help


def test_help_names_the_commands_and_is_quick():
    result = run("--help")
    for command in COMMANDS:
        assert command in result.stdout
    heavy = "import sys, tbsclassify.cli; print('torch' in sys.modules, 'pandas' in "
    code = f"{heavy}sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False"] * 3


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command):
    text = run(command, "--help").stdout
    assert "Usage: tbsclassify" in text
    if command != "demo":
        assert f"tbsclassify {command} " in " ".join(
            text.split("Usage:")[1].split()[2:]
        )


def test_the_version_is_that_of_the_package():
    assert run("--version").stdout == f"{tbsclassify.__version__}\n"


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "tbsclassify"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, tbsclassify.__version__)
    done = subprocess.run(
        [*command, "info", "absent.tbs"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


# Commands


def test_phantoms_write_what_load_scans_reads(data):
    scans = tbsclassify.load_scans(data / "scans.csv", data / "images")
    again = tbsclassify.make_dxa_phantoms(60, random_state=0)
    np.testing.assert_array_equal(scans.images, again.images)
    np.testing.assert_array_equal(scans.tbs, again.tbs)
    np.testing.assert_allclose(scans.boxes, again.boxes)


def test_phantoms_do_not_touch_a_folder_that_holds_something(data):
    before = (data / "scans.csv").read_bytes()
    result = run("phantoms", data, code=1)
    assert "Expected folder to be new or empty" in result.stderr
    assert (data / "scans.csv").read_bytes() == before


def test_train_prints_scores_with_intervals_and_keeps_them(trained):
    out, result = trained
    assert "3-fold cross-validation on 60 scans of 60 patients, seed 0" in result.stdout
    assert "boxes of the table, pixels as they are" in result.stdout
    assert result.stderr == ""
    scores = json.loads(run("info", out).stdout)["scores"]
    assert (scores["folds"], scores["seed"]) == (3, 0)
    assert 0 <= scores["roc_auc"] <= 1
    assert "seconds_per_10_epochs" not in scores
    assert run("info", out, "--card").stdout.startswith("#")


def test_evaluate_prints_scores_and_writes_them(trained, data, tmp_path):
    out = tmp_path / "scores.json"
    arguments = (data / "scans.csv", data / "images", "--out")
    result = run("evaluate", trained[0], *arguments, out)
    assert "roc_auc" in result.stdout
    scores = json.loads(out.read_text())["degraded"]
    assert scores["roc_auc_low"] <= scores["roc_auc"] <= scores["roc_auc_high"]
    run("evaluate", trained[0], *arguments, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv", index_col="name")
    assert table.loc["degraded", "roc_auc"] == pytest.approx(scores["roc_auc"])


def test_evaluate_warns_of_scans_that_the_model_was_trained_on(trained, data, tmp_path):
    seen = run("evaluate", trained[0], data / "scans.csv", data / "images").stderr
    assert seen.startswith("Warning: All 60 scans are among those that model.tbs was")
    assert "no estimate for new scans" in seen
    run("phantoms", tmp_path / "new", "--patients", 12, "--seed", 1)
    table = pd.read_csv(tmp_path / "new" / "scans.csv")
    arguments = (tmp_path / "new" / "scans.csv", tmp_path / "new" / "images")
    assert run("evaluate", trained[0], *arguments).stderr == ""
    known = pd.read_csv(data / "scans.csv", dtype={"patient": str}).head(2)
    for i, name in enumerate(known["file"]):
        copy = tmp_path / "new" / "images" / f"copy{i}.png"
        copy.write_bytes((data / "images" / name).read_bytes())
    known = known.assign(file=["copy0.png", "copy1.png"], patient=["x", "y"])
    pd.concat([table, known]).to_csv(tmp_path / "new" / "scans.csv", index=False)
    seen = run("evaluate", trained[0], *arguments).stderr
    assert seen.startswith("Warning: 2 of 14 scans are among those")


def test_evaluate_scores_a_model_that_was_saved_without_scans(trained, data, tmp_path):
    model = tbsclassify.load_model(trained[0])
    tbsclassify.save_model(model, tmp_path / "bare.tbs")
    arguments = (tmp_path / "bare.tbs", data / "scans.csv", data / "images")
    result = run("evaluate", *arguments)
    assert "roc_auc" in result.stdout
    assert result.stderr == ""


def test_predict_names_the_option_for_the_folder_of_the_scans(trained, data, tmp_path):
    arguments = (trained[0], data / "scans.csv", "--out", tmp_path / "scores.csv")
    result = run("predict", *arguments, code=1)
    assert "Expected --images to be the folder that file names" in result.stderr
    result = run("predict", *arguments, "--images", tmp_path / "absent", code=1)
    assert result.stderr.startswith("Error: Expected --images to be the folder")
    assert "absent" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_predict_scores_a_folder_quietly_and_tells_bad_files_by_its_code(
    trained, data, tmp_path
):
    out, table = tmp_path / "scores.csv", data / "scans.csv"
    arguments = ("--images", data / "images", "--out", out)
    result = run("predict", trained[0], table, *arguments)
    assert (result.stdout, result.stderr) == ("", "")
    assert pd.read_csv(out)["error"].isna().all()
    (tmp_path / "bad.png").write_bytes(b"")
    files = (data / "images" / "00.png", tmp_path / "bad.png")
    result = run("predict", trained[0], *files, "-o", tmp_path / "some.csv", code=3)
    assert "1 of 2 files could not be used" in result.stderr
    assert pd.read_csv(tmp_path / "some.csv")["error"].notna().tolist() == [False, True]
    result = run("predict", trained[0], *files, "-o", tmp_path / "some.csv", code=3)
    assert "1 of 2 files could not be used" in result.stderr


def test_predict_warns_of_bare_scans_for_a_model_trained_on_boxes(
    trained, data, tmp_path
):
    bare = data / "images" / "00.png"
    table = tmp_path / "names.csv"
    table.write_text(f"file\n{bare}\n")
    for files in (bare, table):
        result = run(
            "predict", trained[0], files, "-o", tmp_path / "s.csv", "--restart"
        )
        assert "with boxes of L1-L4, and these scans have none" in result.stderr


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Expected spacing to be above 0.", "Expected --spacing to be above 0."),
        ("which spacing=0.6 needs", "which --spacing 0.6 needs"),
        ("them with LumbarCropper(spacing=...), or", "them with --spacing, or"),
        ("or choose spacing=None.", "or choose no --spacing."),
        ("a file by weights=PATH", "a file by --weights PATH"),
        ("start with weights=None.", "start with --weights none."),
        ('try LumbarCropper(boxes="auto")', "try --auto-boxes"),
        ("ValueError: Expected random_state to be", "Expected --seed to be"),
        ("m failed: OSError: no file", "m failed: no file"),
        ("set n_splits=2, got n_splits=1.", "set --folds 2, got --folds 1."),
        ("or LumbarLocalizer().transform_table", "or --auto-boxes"),
        ("into columns of X or", "into columns of the table or"),
        ("the models of the paper", "the models of the paper"),
        ("KeyError: 'a fault'", "KeyError: 'a fault'"),
        ("folder, got 'seed=0/folds=3'", "folder, got 'seed=0/folds=3'"),
        ("got column 'weights=None'.", "got column 'weights=None'."),
        ('got "it\'s spacing=1".', 'got "it\'s spacing=1".'),
        ("got 'ValueError: X.png'.", "got 'ValueError: X.png'."),
        ("got 'a boxes=\"auto\" b'", "got 'a boxes=\"auto\" b'"),
        ("torch's, spacing=1, it's", "torch's, --spacing 1, it's"),
        ("patients' boxes=\"auto\" or 'cv=5'", "patients' --auto-boxes or 'cv=5'"),
        ("mean file_column='cv=5'?", "mean --file-column 'cv=5'?"),
        (
            'Expected weights to be "imagenet", None or the path',
            'Expected --weights to be "imagenet", "none" or the path',
        ),
    ],
)
def test_a_message_of_the_library_is_told_in_the_words_of_the_command(message, said):
    from typer.main import get_command

    from tbsclassify.cli._wording import in_words_of

    parameters = get_command(app).commands["train"].params
    assert in_words_of(parameters, message) == said
    assert in_words_of((), "weights=None") == "weights=None"


@pytest.mark.parametrize("command", ["info", "evaluate", "predict"])
def test_a_model_file_that_is_not_there_is_told_by_its_argument(
    command, data, tmp_path
):
    rest = {
        "info": (),
        "evaluate": (data / "scans.csv", data / "images"),
        "predict": (data / "images", "--out", tmp_path / "scores.csv"),
    }
    result = run(command, "absent.tbs", *rest[command], code=1)
    assert result.stderr.startswith("Error: Expected model to be a model file")


@pytest.mark.parametrize("name", ["absent.png", "absent/*.png"])
def test_predict_counts_no_files_from_zero(trained, tmp_path, name):
    arguments = (trained[0], name, "--out", tmp_path / "scores.csv")
    result = run("predict", *arguments, code=1)
    assert result.stderr.startswith("Error: Expected files to ")
    assert name in result.stderr


@pytest.mark.parametrize("command", ["train", "compare", "tune"])
@pytest.mark.parametrize("folds", [1, -1])
def test_folds_are_checked_before_a_run_is_described(command, folds, data, tmp_path):
    out = () if command == "compare" else ("--out", tmp_path / "m.tbs")
    arguments = (data / "scans.csv", data / "images", "--folds", folds, *out)
    result = run(command, *arguments, code=1)
    assert result.stdout == ""
    said = f"Error: Expected --folds to be an integer at least 2, got {folds}."
    assert result.stderr.startswith(said)


def test_help_names_no_type_of_options_without_a_value():
    for command in ("train", "predict", "info"):
        assert "bool" not in run(command, "--help").stdout


@pytest.mark.filterwarnings("always")
def test_train_tells_once_why_a_model_cannot_be_fitted(data, tmp_path):
    arguments = ("--model", "texture", "--spacing", 99, "-o", tmp_path / "m.tbs")
    result = run("train", data / "scans.csv", data / "images", *arguments, code=1)
    said = "Error: Expected --spacing to be a finite number at least 0.1"
    assert result.stderr.startswith(said)
    assert result.stderr.count("--spacing") == 1


def test_train_tells_that_the_table_has_one_class(data, tmp_path):
    table = pd.read_csv(data / "scans.csv")
    table[table["tbs"] > 1.2].to_csv(tmp_path / "scans.csv", index=False)
    arguments = ("--model", "texture", "-o", tmp_path / "m.tbs")
    result = run("train", tmp_path / "scans.csv", data / "images", *arguments, code=1)
    assert "Expected table to have scans of both sides of a border" in result.stderr
    assert not (tmp_path / "m.tbs").exists()


def test_messages_name_options_in_place_of_arguments(trained, data, tmp_path):
    table = tmp_path / "scans.csv"
    table.write_text("scan id,patient,tbs\nabsent.png,1,1.2\n")
    arguments = ("train", table, data / "images", "-o", tmp_path / "m.tbs")
    result = run(*arguments, code=1)
    assert "Do you mean --file-column 'scan id'?" in result.stderr
    result = run(*arguments, "--file-column", "scan id", code=1)
    assert "leave these rows out with --skip-bad-rows" in result.stderr
    (tmp_path / "s.csv").write_text("my notes\n")
    result = run(
        "predict", trained[0], data / "images", "-o", tmp_path / "s.csv", code=1
    )
    assert "pass --restart" in result.stderr


@pytest.mark.parametrize("command", ["compare", "evaluate"])
def test_a_file_for_scores_is_checked_before_the_work(command, tmp_path):
    first = ["absent.tbs"] if command == "evaluate" else []
    arguments = (*first, "absent.csv", "images", "--out", tmp_path / "scores.xlsx")
    result = run(command, *arguments, code=1)
    assert "Expected --out to end in .csv or .json" in result.stderr


def test_fewer_patients_than_folds_are_told(data, tmp_path):
    table = pd.read_csv(data / "scans.csv").assign(patient="one")
    table.to_csv(tmp_path / "scans.csv", index=False)
    arguments = ("--model", "texture", "-o", tmp_path / "m.tbs")
    result = run("train", tmp_path / "scans.csv", data / "images", *arguments, code=1)
    assert "Expected at least 5 patients" in result.stderr


def test_predict_refuses_another_run_with_one_sentence(trained, data, tmp_path):
    out = tmp_path / "scores.csv"
    out.write_text("my notes\n")
    arguments = ("--images", data / "images", "--out", out)
    result = run("predict", trained[0], data / "scans.csv", *arguments, code=1)
    assert result.stderr.startswith("Error: Expected --out to be a new file")
    assert out.read_text() == "my notes\n"


def test_ctrl_c_is_told_by_the_code(trained, data, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(tbsclassify.archive, "predict_archive", interrupted)
    out = tmp_path / "scores.csv"
    arguments = (data / "scans.csv", "--images", data / "images", "--out", out)
    result = run("predict", trained[0], *arguments, code=130)
    assert result.stderr == "interrupted\n"


def test_a_fault_of_the_library_is_no_sentence(trained, data, tmp_path, monkeypatch):
    arguments = ("predict", trained[0], data / "images", "--out", tmp_path / "s.csv")
    monkeypatch.setattr(
        tbsclassify.archive, "predict_archive", lambda *a, **k: {}["absent"]
    )
    result = runner.invoke(app, [str(one) for one in arguments])
    assert isinstance(result.exception, KeyError)


def test_locate_writes_boxes_that_other_commands_take(data, tmp_path):
    images = sorted((data / "images").iterdir())[:2]
    run("locate", *images, "--out", tmp_path / "boxes.csv")
    table = pd.read_csv(tmp_path / "boxes.csv")
    assert table["L4_bottom"].gt(table["L1_top"]).all()
    assert "reasons" in table


def test_compare_prints_a_table_and_writes_it(data, tmp_path):
    out = tmp_path / "table.csv"
    arguments = ("--models", "texture,clinical", "--folds", 2, "--out", out)
    result = run("compare", data / "scans.csv", data / "images", *arguments)
    assert "Best roc_auc" in result.stdout
    assert pd.read_csv(out)["name"].tolist() == ["texture", "clinical"]


@pytest.mark.filterwarnings("always")
def test_compare_tells_at_once_and_by_its_code_that_a_model_failed(data):
    arguments = ("--models", "texture,ad-hoc", "--folds", 2, "--device", "abacus")
    result = run("compare", data / "scans.csv", data / "images", *arguments, code=3)
    at_once = 'Warning: ad-hoc failed and is not compared: Expected --device to be "'
    assert result.stderr.count(at_once) == 1
    assert "1 of 2 models failed" in result.stderr
    assert "ad-hoc failed: Expected --device" in result.stdout


def test_compare_refuses_weights_that_are_not_there_before_any_fit(data, tmp_path):
    arguments = ("--models", "texture,deep-texture,resnet18-head", "--folds", 2)
    result = run(
        *("compare", data / "scans.csv", data / "images", *arguments),
        *("--weights", tmp_path / "missing.safetensors"),
        code=1,
    )
    assert "Expected --models to have weights to start from, got 2" in result.stderr
    assert "--weights none" in result.stderr
    assert "texture" not in result.stdout


def test_three_classes_and_pixel_sizes_are_trained_and_evaluated(data, tmp_path):
    out = tmp_path / "model.tbs"
    pd.read_csv(data / "scans.csv").head(24).to_csv(tmp_path / "few.csv")
    table = (tmp_path / "few.csv", data / "images")
    arguments = ("--weights", "none", "--folds", 0, "--spacing", 1.2, "--out", out)
    run("train", *table, *arguments, "--scheme", "three-class", "--device", "cpu")
    result = run("evaluate", out, *table)
    assert "quadratic_kappa" in result.stdout
    assert "rmse" in result.stdout
    assert "counts and Brier score are sums over the three" in result.stdout
    for name in ("all classes", "normal", "partially degraded", "degraded"):
        assert f" {name}\ntp " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["train", "scans.csv"], 2, "Missing argument"),
        (["predict", "m.tbs", "x", "-o", "s.csv", "--engine", "spark"], 2, "spark"),
        (["nonsense"], 2, "nonsense"),
        (["train", "absent.csv", "images", "-o", "m.tbs"], 1, "absent.csv"),
        (["train", "absent.csv", "x", "-o", "absent/m.tbs"], 1, "absent/m.tbs"),
        (["predict", "absent.tbs", "x", "-o", "s.csv"], 1, "absent.tbs"),
    ],
)
def test_what_goes_wrong_is_a_sentence_and_a_code(
    arguments, code, reason, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, code=code)
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_random_weights_may_be_spelled_as_in_python():
    from tbsclassify.cli._choices import choose_model

    for weights in ("none", "None"):
        model = choose_model(
            *("deep-texture",),
            weights=weights,
            spacing=None,
            auto_boxes=False,
            max_epochs=None,
            device="cpu",
        )
        assert model[-1].weights is None


def test_names_of_models_that_are_not_there_are_told(data):
    arguments = ("--models", "texture,textures")
    result = run("compare", data / "scans.csv", data / "images", *arguments, code=1)
    assert "got 'textures'. Did you mean 'texture'?" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_terminal_sees_progress(trained, data, tmp_path):
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "tbsclassify", "predict", trained[0]]
    command += [data / "images", "-o", tmp_path / "scores.csv"]
    with subprocess.Popen(command, stderr=terminal, stdout=subprocess.PIPE) as process:
        os.close(terminal)
        text = b""
        try:
            while part := os.read(main, 4096):
                text += part
        except OSError:
            pass  # the other end is closed
    os.close(main)
    assert process.returncode == 0
    assert b"60/60" in text
    assert b"files a second" in text


@pytest.mark.slow
def test_tune_writes_the_best_model(data, tmp_path, ray_of_two_cores):
    out = tmp_path / "model.tbs"
    arguments = ("--model", "texture", "--trials", 2, "--folds", 2, "--out", out)
    result = run("tune", data / "scans.csv", data / "images", *arguments)
    assert "C = " in result.stdout
    run("info", out)


def test_the_demo_does_the_whole_job_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    text = run("demo", "--patients", 45).stdout
    assert text.count("$ tbsclassify") == 4
    assert "Phantom results" in text
    assert not list(Path(tmp_path).iterdir())
