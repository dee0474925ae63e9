"""Scans and models that are named by the arguments of a command."""

from pathlib import Path
from typing import Any, Literal


def load(
    table: Path,
    images: Path,
    *,
    scheme: Literal["binary", "three-class"],
    skip_bad_rows: bool,
    columns: tuple[str, str, str],
) -> tuple[Any, Any]:
    """Return scans and their classes."""
    from tbsclassify import TBSLabeler, load_scans

    file_column, patient_column, tbs_column = columns
    scans = load_scans(
        table,
        images,
        file_column=file_column,
        patient_column=patient_column,
        tbs_column=tbs_column,
        on_bad_rows="warn" if skip_bad_rows else "error",
    )
    return scans, TBSLabeler(scheme=scheme).fit_transform(scans.tbs)


def check_training_data(scans: Any, y: Any, folds: int | None) -> None:
    """Refuse scans of one class, and folds for which there are too few patients.

    Without cross-validation, `folds` is None.
    """
    import numpy as np

    from tbsclassify._validation import check_number

    if folds is not None:
        check_number(folds, "folds", low=2, integer=True)
    if len(np.unique(y)) < 2:
        raise ValueError(
            "Expected table to have scans of both sides of a border of TBS (1.200, and "
            f"1.350 with --scheme three-class), got TBS {scans.tbs.min():g} to "
            f"{scans.tbs.max():g} in all {len(y)} rows. Add scans of other TBS."
        )
    n_patients = len(np.unique(scans.patient))
    if folds is not None and n_patients < folds:
        raise ValueError(
            f"Expected at least {folds} patients, since all scans of one are in the "
            f"same of {folds} folds, got {n_patients}. Lower --folds, or look at the "
            "column of patients."
        )


def _known_models(
    *,
    weights: str | None,
    spacing: float | None,
    auto_boxes: bool,
    max_epochs: int | None,
    device: str,
) -> dict[str, Any]:
    """Return the library's models by name, with the settings of the command line."""
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    from tbsclassify import (
        LumbarCropper,
        LumbarLocalizer,
        all_models,
        make_clinical_baseline,
    )

    settings: dict[str, Any] = {"device": device}
    if weights is not None:
        settings["weights"] = None if weights.lower() == "none" else weights
    if max_epochs is not None:
        settings["max_epochs"] = max_epochs
    cropper = LumbarCropper(spacing=spacing, boxes="auto" if auto_boxes else "given")
    models: dict[str, Any] = all_models(cropper=cropper, **settings)
    for name, model in models.items():
        if isinstance(model, Pipeline) and isinstance(model[0], LumbarCropper):
            continue
        # Texture is measured inside the boxes of whole scans.
        steps: list[Any] = []
        if auto_boxes:
            steps.append(FunctionTransformer(LumbarLocalizer().transform_table))
        if spacing is not None:
            steps.append(FunctionTransformer(cropper.transform_table))
        models[name] = make_pipeline(*steps, model) if steps else model
    return models | {"clinical": make_clinical_baseline()}


def choose_models(names: str, **settings: Any) -> Any:
    """Return models by name, for a group or names separated by commas."""
    from tbsclassify._validation import did_you_mean

    known = _known_models(**settings)
    groups = {
        "all": [name for name in known if name != "clinical"],
        "radiomics": [name for name in known if name.startswith("radiomics")],
    }
    own = ("clinical", "deep-texture", "ad-hoc", *groups["radiomics"])
    groups["paper"] = [name for name in known if name not in own]
    wanted = groups.get(names, [name.strip() for name in names.split(",")])
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"Expected names of models, got {', '.join(map(repr, unknown))}."
            f"{did_you_mean(unknown[0], [*known, *groups])} There are "
            f"{', '.join(known)}, and the groups {', '.join(groups)}."
        )
    return {name: known[name] for name in wanted}


def choose_model(name: str, **settings: Any) -> Any:
    """Return the model of this name."""
    return choose_models(name, **settings)[name]


def seed_all(model: Any, seed: int) -> None:
    """Set all parameters `random_state` that are None."""
    seeds = {
        key: seed
        for key, value in model.get_params().items()
        if key.endswith("random_state") and value is None
    }
    model.set_params(**seeds)


def space_of(name: str, model: Any) -> dict[str, Any]:
    """Return the search space of a model."""
    from ray import tune

    from tbsclassify._pipelines import last_step, last_step_prefix

    prefix, parameters = last_step_prefix(model), last_step(model).get_params()
    if "lr" in parameters and getattr(last_step(model), "mode", "") != "texture":
        return {
            f"{prefix}lr": tune.loguniform(1e-4, 1e-2),
            f"{prefix}weight_decay": tune.loguniform(1e-6, 1e-2),
        }
    if "C" in parameters:
        return {f"{prefix}C": tune.loguniform(1e-3, 1e3)}
    raise ValueError(
        f"Expected a model with a learning rate or a penalty to search, got {name!r}, "
        "which has none. Choose ad-hoc, model1 to model4, a network, or texture."
    )
