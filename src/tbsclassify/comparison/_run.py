"""Run all fits of a comparison, one after another or in parallel."""

from typing import Any

import numpy as np
from joblib.parallel import get_active_backend
from sklearn.utils.parallel import Parallel, delayed

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._progress import Progress
from tbsclassify._warn import warn
from tbsclassify.comparison._checks import check_initial_weights
from tbsclassify.comparison._fits import Trial, run_trial


def run_all(
    trials: list[Trial],
    models: dict[str, Any],
    X: Any,
    groups: np.ndarray | None,
    *,
    classes: np.ndarray,
    threshold: float | str,
    pos_label: Any,
    checkpoint: Checkpoint | None,
    n_jobs: int | None,
    verbose: int,
) -> dict[Trial, dict[str, Any]]:
    """Return the outcome of each trial, run now or read from a checkpoint."""
    outcomes: dict[Trial, Any] = dict.fromkeys(trials)
    if checkpoint is not None:
        outcomes = {trial: checkpoint.read(trial.name) for trial in trials}
    pending = [trial for trial in trials if outcomes[trial] is None]
    fitted = {trial.model for trial in pending}
    check_initial_weights({name: models[name] for name in models if name in fitted})
    # The backend of Ray cannot return results one by one.
    one_by_one = get_active_backend()[0].supports_return_generator
    run = Parallel(
        n_jobs=n_jobs,
        batch_size=1,
        return_as="generator_unordered" if one_by_one else "list",
    )
    finished = run(
        delayed(run_trial)(
            trial,
            models[trial.model],
            X,
            groups,
            classes=classes,
            threshold=threshold,
            pos_label=pos_label,
            checkpoint=checkpoint,
        )
        for trial in pending
    )
    by_name = {trial.name: trial for trial in pending}
    with Progress(len(pending), shown=bool(verbose)) as progress:
        progress.show(0, f"0/{len(pending)} fits")
        for done, (trial, outcome) in enumerate(finished, start=1):
            # Processes return a copy of the trial.
            outcomes[by_name[trial.name]] = outcome
            if "error" in outcome and trial.model in fitted:
                fitted.remove(trial.model)  # one warning is enough
                progress.end_line()
                warn(f"{trial.model} failed and is not compared: {outcome['error']}")
            progress.show(done, f"{done}/{len(pending)} fits")
    return outcomes
