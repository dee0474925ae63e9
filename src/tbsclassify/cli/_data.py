"""Commands that make data: phantoms on disk, and the whole job on them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tbsclassify._files import as_path
from tbsclassify.cli import _options as options
from tbsclassify.cli._app import say


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Folder to write, new or empty.")],
    patients: Annotated[int, typer.Option(help="Number of patients.")] = 100,
    scans_per_patient: Annotated[int, typer.Option(help="Scans of each.")] = 1,
    varied: Annotated[
        bool,
        typer.Option("--varied", help="As unlike each other as those of a clinic."),
    ] = False,
    bits: Annotated[int, typer.Option(help="Depth of grey levels, 8 or 16.")] = 8,
    seed: options.Seed = 0,
) -> None:
    """Write synthetic scans: PNG files and a table, to try all other commands on.

    `FOLDER/images` has the scans, `FOLDER/scans.csv` their patient, TBS, boxes, pixel
    size, age, sex, BMI and BMD.

    For example:

    * `tbsclassify phantoms data --patients 200`
    """
    folder = as_path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"Expected folder to be new or empty, got {str(folder)!r}, which holds "
            "something. Name another one."
        )
    n_scans = _write_phantoms(
        folder,
        patients,
        scans_per_patient=scans_per_patient,
        appearance="varied" if varied else "plain",
        bit_depth=bits,
        random_state=seed,
    )
    say(f"{folder / 'scans.csv'}: {n_scans} phantoms")


def demo(
    patients: Annotated[
        int, typer.Option(help="Phantom patients to train on; a third more to test.")
    ] = 120,
    seed: options.Seed = 0,
) -> None:
    """Show the whole job on phantoms, in less than a minute and without any data.

    Phantoms are written to a temporary folder, a model is trained on them, evaluated
    on others and asked for scores. These are phantom results: they say nothing about
    patients.
    """
    import tempfile

    import pandas as pd

    from tbsclassify.cli._archive import predict
    from tbsclassify.cli._models import evaluate, train

    with tempfile.TemporaryDirectory(prefix="tbsclassify-") as name:
        folder = Path(name)
        _step(f"tbsclassify phantoms data --patients {patients + patients // 3}")
        _write_phantoms(folder, patients + patients // 3, random_state=seed)
        table = pd.read_csv(folder / "scans.csv")
        for file, rows in (
            ("train.csv", slice(patients)),
            ("test.csv", slice(patients, None)),
        ):
            table.iloc[rows].to_csv(folder / file, index=False)
        images, model = folder / "images", folder / "model.tbs"

        _step("tbsclassify train train.csv data/images --model texture --out model.tbs")
        train(folder / "train.csv", images, model, name="texture", seed=seed)

        _step("tbsclassify evaluate model.tbs test.csv data/images")
        evaluate(model, folder / "test.csv", images)

        _step(
            "tbsclassify predict model.tbs test.csv --images data/images -o scores.csv"
        )
        scores = folder / "scores.csv"
        predict(model, [str(folder / "test.csv")], scores, image_dir=images)
        shown = pd.read_csv(scores).dropna(axis=1, how="all").head()
        print(shown.to_string(index=False))
        print(f"\nPhantom results; nothing of this is left on disk. {_NEXT}")


_NEXT = "With your own scans, begin with `tbsclassify train --help`."


def _step(command: str) -> None:
    print(f"\n$ {command}", flush=True)


def _write_phantoms(folder: Path, n_patients: int, **parameters: Any) -> int:
    from PIL import Image

    from tbsclassify import make_dxa_phantoms

    scans = make_dxa_phantoms(n_patients, **parameters)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    width = len(str(len(scans.images) - 1))
    names = [f"{i:0{width}d}.png" for i in range(len(scans.images))]
    for name, image in zip(names, scans.images, strict=True):
        Image.fromarray(image).save(folder / "images" / name)
    table = scans.frame.drop(columns="image")
    table.insert(0, "file", names)
    table.to_csv(folder / "scans.csv", index=False)
    return len(names)
