"""A model card in Markdown, from what a model file holds."""

import os
from collections.abc import Mapping
from typing import Any

from sklearn.utils.validation import check_is_fitted

from tbsclassify.persistence._container import ModelFileError
from tbsclassify.persistence._describe import describe_model
from tbsclassify.persistence._file import model_info
from tbsclassify.persistence._portable import file_name, portable_copy

# Items of TRIPOD+AI (Collins et al. 2024) and CLAIM (Mongan et al. 2020) that a model
# file cannot answer, by their numbers there.
_OPEN = (
    ("Purpose, intended users, place in care", "3, 4, 27", "3, 4"),
    ("Sources of data, dates, sites, eligibility", "5, 6", "7, 8"),
    ("Who measured TBS, with what software and version", "8", "14-18"),
    ("Scanners, and how the pixel size was made sure of", "7, 9", "9"),
    ("Sample size and why it is enough", "10", "19"),
    ("Missing and excluded scans", "11, 20a", "10, 13, 33"),
    ("How scans were split; no patient on both sides", "12, 16", "20, 21"),
    ("Age, sex, BMI, ethnicity of the patients", "20b", "34"),
    ("Fairness: performance by subgroup", "14, 23a", "30, 37"),
    ("External validation", "16, 23", "32"),
    ("Failures, limitations", "26", "37, 38"),
    ("Ethics, funding, protocol, registration, data and code", "17, 18", "40-42"),
    ("Involvement of patients and the public", "19", ""),
)


def model_card(source: Any) -> str:
    """Describe a model in a model card.

    What is known is stated. Items of the reporting guidelines TRIPOD+AI [1]_ and CLAIM
    [2]_ that no model file can answer are named as open: the authors have to.

    Parameters
    ----------
    source : str, path-like or estimator
        A file that `save_model` wrote; or a fitted model, of which training data and
        scores are not known.

    Returns
    -------
    card : str
        Markdown.

    Raises
    ------
    ModelFileError, FileNotFoundError
        If there is no such model file.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    model_info : The same as a dict.
    save_model : Writes the file.

    References
    ----------
    .. [1] Collins GS et al. (2024). TRIPOD+AI statement. BMJ 385:e078378.
    .. [2] Mongan J, Moy L, Kahn CE (2020). Checklist for Artificial Intelligence in
       Medical Imaging (CLAIM). Radiology: Artificial Intelligence 2(2):e200029.

    Examples
    --------
    >>> from tbsclassify import make_texture_classifier, model_card
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> model = make_texture_classifier().fit(scans.frame, scans.tbs < 1.2)
    >>> print(model_card(model)[:22])
    # Model card: Pipeline
    """
    if not isinstance(source, str | os.PathLike):
        check_is_fitted(source)
        return _card({"model": describe_model(portable_copy(source))})
    info = model_info(source)
    try:
        return _card(info)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise ModelFileError(
            f"{file_name(source)} has a header that save_model did not write."
        ) from None


def _card(info: dict[str, Any]) -> str:
    about = info["model"]
    parts = [
        f"# Model card: {_line(about['estimator'])}",
        "**For research only.** No medical device, and no replacement for TBS, which "
        "is a registered method of its maker.",
        *_what_it_is(info, about),
        *_input(about),
        *_training(info.get("training")),
        *_performance(info.get("scores")),
        *_software(about),
        "## Open",
        "A report has to add:",
        _table(
            ["", "TRIPOD+AI", "CLAIM (2020)"],
            [list(item) for item in _OPEN],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_is(info, about):
    rows = [["Kind", about["kind"]]]
    if about.get("classes"):
        names = zip(about["classes"], about["class_names"], strict=True)
        rows.append(
            ["Classes", ", ".join(f"{label} ({name})" for label, name in names)]
        )
    if about.get("decision_threshold") is not None:
        rows.append(
            [
                "Called positive",
                f"where the probability of {about['classes'][1]} is above "
                f"{about['decision_threshold']:g}",
            ]
        )
    if learned := about.get("learned_tbs"):
        text = f"typical error {learned['residual_std']:.3f} on held-out patients"
        rows.append(["Learned from", f"TBS values; {text}"])
        if learned["thresholds"]:
            rows.append(["Borders of TBS", _text(learned["thresholds"])])
    if "fingerprint" in info:
        rows += [["Saved", info["saved"]], ["Fingerprint", info["fingerprint"]]]
    return [
        "## Model",
        "TRIPOD+AI 12, 15, 22; CLAIM 22, 25.",
        _table(["", ""], rows),
        "Parameters:",
        _table(
            ["Parameter", "Value"],
            [[f"`{k}`", f"`{_text(v)}`"] for k, v in about["parameters"].items()],
        ),
    ]


def _input(about):
    known = about["input"] | {
        f"grey_{name}": value for name, value in about["normalisation"].items()
    }
    rows = [[name, _text(value)] for name, value in known.items() if value is not None]
    return ["## Input", "TRIPOD+AI 7, 9; CLAIM 9, 11.", _table(["", ""], rows)]


def _training(training):
    if not training:
        return ["## Training data", "Open: not told when the model was saved."]
    rows = [[name, _text(value)] for name, value in training.items()]
    return ["## Training data", "TRIPOD+AI 20a, 21; CLAIM 33.", _table(["", ""], rows)]


def _performance(scores):
    if not scores:
        return ["## Performance", "Open: not told when the model was saved."]
    several = all(isinstance(row, Mapping) for row in scores.values())
    rows = scores if several else {"": scores}
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    return [
        "## Performance",
        "TRIPOD+AI 23a; CLAIM 35, 36. As told when the model was saved.",
        _table(
            ["", *rows],
            [
                [name, *(_score(row, name) for row in rows.values())]
                for name in columns
                if not name.endswith(("_low", "_high"))
            ],
        ),
    ]


def _software(about):
    rows = [[name, value] for name, value in about["versions"].items()]
    return ["## Software", "CLAIM 23.", _table(["Package", "Version"], rows)]


def _score(row, name):
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    known = all(isinstance(one, int | float) for one in (low, high))
    interval = f" [{low:.3g}, {high:.3g}]" if known else ""
    return _text(row.get(name)) + interval


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    """Make a table, in whose cells nothing ends a cell or a row."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(_line(cell).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _line(value: Any) -> str:
    """Return a text in one line, in which nothing is read as HTML."""
    return " ".join(str(value).split()).replace("<", "&lt;")
