"""Arguments that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Table = Annotated[
    Path, typer.Argument(help="CSV file with a row a scan: file, patient, tbs, boxes.")
]
Images = Annotated[Path, typer.Argument(help="Folder that its file names refer to.")]
ModelFile = Annotated[Path, typer.Argument(help="Model file that `train` has written.")]
FileColumn = Annotated[str, typer.Option(help="Column with the name of the file.")]
PatientColumn = Annotated[str, typer.Option(help="Column with the patient's id.")]
TBSColumn = Annotated[str, typer.Option(help="Column with the TBS.")]
SkipBadRows = Annotated[
    bool,
    typer.Option(
        "--skip-bad-rows", help="Leave bad rows out with a warning, not an error."
    ),
]
Scheme = Annotated[
    Literal["binary", "three-class"],
    typer.Option(help="Degraded or not, or three classes, by TBS 1.200 and 1.350."),
]
Folds = Annotated[int, typer.Option(help="Folds of the cross-validation, by patient.")]
Seed = Annotated[
    int,
    typer.Option(
        help="Seed of folds, weights and bootstrap: the same gives the same result."
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="deep-texture, ad-hoc, texture, clinical, radiomics-svm, model1 to "
        "model4, squeezenet1_0-full, resnet18-head ...: a name of all_models().",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Initial weights of torchvision networks: a .safetensors or .pth file, a "
        'folder of such files under torchvision\'s names, "none" for random ones; '
        "otherwise ImageNet's are downloaded once."
    ),
]
Spacing = Annotated[
    float | None,
    typer.Option(help="Bring all scans to this pixel size in mm."),
]
AutoBoxes = Annotated[
    bool,
    typer.Option(
        "--auto-boxes", help="Find L1-L4 in scans without boxes (LumbarLocalizer)."
    ),
]
MaxEpochs = Annotated[
    int | None, typer.Option(help="Most epochs of networks that train in epochs.")
]
Device = Annotated[str, typer.Option(help='"auto", "cpu", "cuda" ...')]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="This process, or all cores of a Ray cluster."),
]
BatchSize = Annotated[
    int, typer.Option(help="Files read, scored and written together.")
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Replace the output, in place of going on with it."),
]
Files = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders, patterns in quotes, or one CSV file with a column file."
    ),
]
ImageDir = Annotated[
    Path | None,
    typer.Option(
        "--images", help="Folder that the names in a CSV file refer to: its own."
    ),
]
