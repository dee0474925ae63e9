"""Commands that train and judge models."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tbsclassify.cli import _options as options
from tbsclassify.cli._app import IN_PART, say, warn
from tbsclassify.cli._choices import (
    check_training_data,
    choose_model,
    choose_models,
    load,
    seed_all,
    space_of,
)
from tbsclassify.cli._scores import (
    check_folder_of,
    check_scores_file,
    cross_validate_model,
    describe_run,
    evaluate_model,
    explain_rows,
    format_rows,
    warn_of_training_scans,
    write_rows,
)
from tbsclassify.cli._wording import in_words_of

_ModelOut = Annotated[Path, typer.Option("--out", "-o", help="Model file to write.")]
_TableOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="Also write it: .csv or .json.")
]


def train(
    table: options.Table,
    images: options.Images,
    out: _ModelOut,
    name: options.ModelName = "deep-texture",
    weights: options.Weights = None,
    scheme: options.Scheme = "binary",
    spacing: options.Spacing = None,
    auto_boxes: options.AutoBoxes = False,
    folds: options.Folds = 5,
    max_epochs: options.MaxEpochs = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    skip_bad_rows: options.SkipBadRows = False,
    file_column: options.FileColumn = "file",
    patient_column: options.PatientColumn = "patient",
    tbs_column: options.TBSColumn = "tbs",
) -> None:
    """Train a model on scans with TBS, and write it to a file.

    First it is cross-validated by patient, and the scores are printed with their 95 %
    intervals; then it is trained on all scans. Networks of this library learn the TBS
    itself, and give probabilities of its ranges. `--folds 0` leaves the scores out. The
    file keeps the scores and all settings, the seed included: `tbsclassify info`.

    For example:

    * `tbsclassify train scans.csv images --out model.tbs`

    * `tbsclassify train scans.csv images --model texture --out model.tbs`

    * `tbsclassify train scans.csv images --auto-boxes --spacing 0.6 --out model.tbs`
    """
    from tbsclassify._pipelines import fit_metadata
    from tbsclassify.persistence import save_model

    check_folder_of(out)
    scans, y = load(
        table,
        images,
        scheme=scheme,
        skip_bad_rows=skip_bad_rows,
        columns=(file_column, patient_column, tbs_column),
    )
    check_training_data(scans, y, folds or None)
    settings: dict[str, Any] = {
        "weights": weights,
        "spacing": spacing,
        "auto_boxes": auto_boxes,
    }
    model = choose_model(name, **settings, max_epochs=max_epochs, device=device)
    scores = None
    if folds:
        print(describe_run(scans, folds, seed, scheme, **settings))
        scores = cross_validate_model(name, model, scans, y, folds, seed)
    say("training on all scans")
    seed_all(model, seed)
    metadata = fit_metadata(model, groups=scans.patient, tbs=scans.tbs)
    model.fit(scans.frame, y, **metadata)
    save_model(
        model,
        out,
        X=scans.frame,
        y=y,
        groups=scans.patient,
        tbs=scans.tbs,
        scores=scores,
    )
    say(f"{out}: {name}, trained on {len(y)} scans")


def evaluate(
    model: options.ModelFile,
    table: options.Table,
    images: options.Images,
    out: _TableOut = None,
    threshold: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Probability above which a scan counts as degraded."
        ),
    ] = 0.5,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    skip_bad_rows: options.SkipBadRows = False,
    file_column: options.FileColumn = "file",
    patient_column: options.PatientColumn = "patient",
    tbs_column: options.TBSColumn = "tbs",
) -> None:
    """Score a trained model on scans with TBS that it has not seen.

    Measures come with 95 % intervals from a bootstrap by patient; where the model
    predicts the TBS, the agreement of values, too. Scans that the model was trained on
    are recognised by their grey levels, and warned of.

    For example:

    * `tbsclassify evaluate model.tbs test.csv images --out scores.json`
    """
    from tbsclassify.persistence import load_model

    check_scores_file(out)
    fitted = load_model(model, device=device)
    if not hasattr(fitted, "predict_proba"):
        raise TypeError(
            "Expected model to be a classifier with probabilities, as `tbsclassify "
            "train` writes it, got one without. Evaluate it in Python."
        )
    classes = list(fitted.classes_)
    if classes not in ([0, 1], [0, 1, 2]):
        raise ValueError(
            "Expected model to tell TBSLabeler's classes 0 and 1, or 0 to 2, got "
            f"{len(classes)} other classes. Evaluate it in Python."
        )
    scans, y = load(
        table,
        images,
        scheme="binary" if len(classes) == 2 else "three-class",
        skip_bad_rows=skip_bad_rows,
        columns=(file_column, patient_column, tbs_column),
    )
    warn_of_training_scans(model, scans)
    rows = evaluate_model(fitted, scans, y, threshold, seed)
    print(explain_rows(rows, threshold))
    for title, row in rows.items():
        print(format_rows({title: row}))
    if out is not None:
        write_rows(rows, out)


def compare(
    context: typer.Context,
    table: options.Table,
    images: options.Images,
    models: Annotated[
        str,
        typer.Option(
            help='"all", "paper", "radiomics", or names of models with commas between.'
        ),
    ] = "texture,deep-texture,clinical",
    out: _TableOut = None,
    weights: options.Weights = None,
    scheme: options.Scheme = "binary",
    spacing: options.Spacing = None,
    auto_boxes: options.AutoBoxes = False,
    folds: options.Folds = 5,
    max_epochs: options.MaxEpochs = None,
    device: options.Device = "auto",
    checkpoint_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of finished fits: called again, the run goes on."),
    ] = None,
    n_jobs: Annotated[int | None, typer.Option(help="Fits at the same time.")] = None,
    seed: options.Seed = 0,
    skip_bad_rows: options.SkipBadRows = False,
    file_column: options.FileColumn = "file",
    patient_column: options.PatientColumn = "patient",
    tbs_column: options.TBSColumn = "tbs",
) -> None:
    """Cross-validate several models on the same splits, by patient.

    For example:

    * `tbsclassify compare scans.csv images --models texture,clinical`

    * `tbsclassify compare scans.csv images --models all --checkpoint-dir runs`
    """
    from tbsclassify import compare_models

    check_scores_file(out)
    scans, y = load(
        table,
        images,
        scheme=scheme,
        skip_bad_rows=skip_bad_rows,
        columns=(file_column, patient_column, tbs_column),
    )
    check_training_data(scans, y, folds)
    settings: dict[str, Any] = {
        "weights": weights,
        "spacing": spacing,
        "auto_boxes": auto_boxes,
    }
    print(describe_run(scans, folds, seed, scheme, **settings), flush=True)
    found = compare_models(
        choose_models(models, **settings, max_epochs=max_epochs, device=device),
        scans.frame,
        y,
        scans.patient,
        tbs=scans.tbs,
        cv=folds,
        random_state=seed,
        n_jobs=n_jobs,
        checkpoint_dir=checkpoint_dir,
        verbose=1,
    )
    print(in_words_of(context.command.params, found.to_text()))
    if out is not None:
        write_rows({str(name): row for name, row in found.table.iterrows()}, out)
    n_failed = int((found.table["error"] != "").sum())
    if n_failed:
        warn(f"{n_failed} of {len(found.table)} models failed and are not compared.")
        raise typer.Exit(IN_PART)


def tune(
    table: options.Table,
    images: options.Images,
    out: _ModelOut,
    name: options.ModelName = "ad-hoc",
    trials: Annotated[int, typer.Option(help="Configurations to try.")] = 10,
    weights: options.Weights = None,
    scheme: options.Scheme = "binary",
    spacing: options.Spacing = None,
    auto_boxes: options.AutoBoxes = False,
    folds: options.Folds = 3,
    max_epochs: options.MaxEpochs = None,
    device: options.Device = "auto",
    checkpoint_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of finished trials: called again, it goes on."),
    ] = None,
    seed: options.Seed = 0,
    skip_bad_rows: options.SkipBadRows = False,
    file_column: options.FileColumn = "file",
    patient_column: options.PatientColumn = "patient",
    tbs_column: options.TBSColumn = "tbs",
) -> None:
    """Search learning rate and weight decay of a network, and train it with the best.

    The search runs on Ray, on all cores or on the cluster that RAY_ADDRESS names, and
    ends bad trials early. For `texture` it searches the strength of the penalty. The
    printed score is that of the best trial, which was chosen by it: `evaluate` the
    model on other patients.

    For example:

    * `tbsclassify tune scans.csv images --model model3 --trials 20 --out best.tbs`

    * `tbsclassify tune scans.csv images --model texture --out best.tbs`
    """
    from tbsclassify import RayTuneSearchCV
    from tbsclassify._pipelines import fit_metadata
    from tbsclassify.persistence import save_model

    check_folder_of(out)
    scans, y = load(
        table,
        images,
        scheme=scheme,
        skip_bad_rows=skip_bad_rows,
        columns=(file_column, patient_column, tbs_column),
    )
    check_training_data(scans, y, folds)
    settings: dict[str, Any] = {
        "weights": weights,
        "spacing": spacing,
        "auto_boxes": auto_boxes,
    }
    model = choose_model(name, **settings, max_epochs=max_epochs, device=device)
    print(describe_run(scans, folds, seed, scheme, **settings))
    seed_all(model, seed)
    search = RayTuneSearchCV(
        model,
        space_of(name, model),
        n_trials=trials,
        cv=folds,
        scoring="roc_auc" if scheme == "binary" else "roc_auc_ovr",
        checkpoint_dir=checkpoint_dir,
        random_state=seed,
    )
    learns_tbs = bool(fit_metadata(model, tbs=scans.tbs))
    tbs = scans.tbs if learns_tbs else None
    search.fit(scans.frame, y, groups=scans.patient, tbs=tbs)
    for parameter, value in search.best_params_.items():
        print(f"{parameter} = {value:.4g}")
    print(f"{search.scoring} = {search.best_score_:.3f} (mean over {folds} folds)")
    save_model(
        search.best_estimator_,
        out,
        X=scans.frame,
        y=y,
        groups=scans.patient,
        tbs=scans.tbs,
    )
    say(f"{out}: {name}, trained on {len(y)} scans")


def info(
    model: options.ModelFile,
    card: Annotated[
        bool, typer.Option("--card", help="Write a model card in Markdown instead.")
    ] = False,
) -> None:
    """Tell what a model file holds, as JSON, or as a model card.

    For example:

    * `tbsclassify info model.tbs`

    * `tbsclassify info model.tbs --card > CARD.md`
    """
    from tbsclassify.persistence import model_card, model_info

    if card:
        print(model_card(model))
    else:
        print(json.dumps(model_info(model), indent=2, default=str))
