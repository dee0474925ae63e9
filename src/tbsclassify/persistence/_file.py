"""Save fitted models to files and load them, by skops and a list of trusted types."""

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from skops.io.exceptions import (
    UnsupportedTypeException,
    UntrustedTypesFoundException,
)

from tbsclassify._files import printable_name
from tbsclassify._warn import warn
from tbsclassify.persistence._container import (
    ModelFileError,
    fingerprint_of,
    read_model_file,
    write_model_file,
)
from tbsclassify.persistence._describe import (
    describe_model,
    describe_training,
    plain,
)
from tbsclassify.persistence._portable import estimators_in, portable_copy
from tbsclassify.persistence._schema import UnsafeSchemaError, check_schema
from tbsclassify.persistence._seen import hash_scans, scan_digests
from tbsclassify.persistence._trusted import trusted_types


def save_model(
    model: Any,
    path: str | os.PathLike,
    *,
    X: Any = None,
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    tbs: ArrayLike | None = None,
    scores: Any = None,
) -> None:
    """Write a fitted model to one file, without pickle.

    The file is written whole or not at all. It holds the model, what it expects of
    scans, package versions and, if given, facts about training data and scores. It
    never holds paths of this machine: parameters that name files keep only the names,
    and `memory`, `callbacks` and `checkpoint`, which only a fit uses, are left out.

    Parameters
    ----------
    model : estimator
        A fitted classifier, regressor or transformer, such as a Pipeline. Its steps
        may be this library's and scikit-learn's.
    path : str or path-like
        The file. One that is there is replaced.
    X : array, sequence or table, default=None
        The scans that the model was trained on. They are counted, and hashes of their
        grey levels are kept, by which people who have them can recognise them
        (`was_trained_on`). Rows of numbers or text are counted alone.
    y : array-like of shape (n_scans,), default=None
        Their classes, which are counted, or their values.
    groups : array-like of shape (n_scans,), default=None
        Their patients, who are counted.
    tbs : array-like of shape (n_scans,), default=None
        Their TBS, of which mean and standard deviation are kept.
    scores : Series, DataFrame or dict, default=None
        How good the model is, such as a row of `classification_row` or
        ``result.table`` of `compare_models`. It is kept as it is.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If the model holds an object that has no form without pickle; if `scores` is
        no Series, DataFrame or dict.
    ValueError
        If `y`, `groups` or `tbs` do not fit `X`.
    OSError
        If the file cannot be written. One that was there is as it was.

    Warns
    -----
    UserWarning
        If `load_model` will ask for `trusted`, since the model holds types of other
        packages.

    See Also
    --------
    load_model : Reads the file.
    model_info : Tells what a file holds.
    model_card : The same as a text for people.
    tbsclassify.persistence.was_trained_on : Tells which scans it was trained on.
    tbsclassify.export_onnx : A file for other languages.

    Notes
    -----
    Models that keep training data, as nearest neighbours and support vector machines
    do, keep them in the file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tbsclassify import load_model, make_texture_classifier, save_model
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> y = (scans.tbs < 1.2).astype(int)
    >>> model = make_texture_classifier().fit(scans.frame, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "texture.tbsmodel")
    ...     save_model(model, path, X=scans.frame, y=y, groups=scans.patient)
    ...     again = load_model(path)
    >>> proba = again.predict_proba(scans.frame)
    >>> bool((proba == model.predict_proba(scans.frame)).all())
    True
    """
    if not isinstance(model, BaseEstimator):
        raise TypeError(
            "Expected model to be a fitted scikit-learn estimator, got "
            f"{type(model).__name__}. Pass one model, not a list or a comparison."
        )
    check_is_fitted(model)
    if not (scores is None or isinstance(scores, Mapping | pd.Series | pd.DataFrame)):
        raise TypeError(
            "Expected scores to be a Series, DataFrame or dict of numbers by name, got "
            f"{type(scores).__name__}. Name what you measured: "
            'scores={"roc_auc": 0.83}.'
        )
    portable = portable_copy(model)
    content = _dump(portable)
    unknown = sorted(
        set(skops.io.get_untrusted_types(data=content)) - {*trusted_types()}
    )
    if unknown:
        warn(
            "The model holds types of other packages. Whoever loads it has to trust "
            f"them by name: load_model(path, trusted={unknown!r})."
        )
    digests = None if X is None else scan_digests(X)
    about = {
        "saved": datetime.now(UTC).date().isoformat(),
        "model": describe_model(portable),
        "training": describe_training(model, X, y, groups, tbs, digests),
        "scores": plain(scores),
    }
    if digests is not None:
        # Sorted, so that their order tells nothing.
        hashes = np.unique(hash_scans(fingerprint_of(content), digests))
        about["scan_hashes"] = hashes.tobytes().decode()
    write_model_file(path, about, content)


def _dump(model: BaseEstimator) -> bytes:
    try:
        return skops.io.dumps(model)
    except (
        *(UnsupportedTypeException, TypeError, AttributeError),
        RecursionError,  # of an object that holds itself
    ) as error:
        raise TypeError(
            f"Part of this {type(model).__name__} has no form without pickle "
            f"({error}). Of a search, save search.best_estimator_; leave out steps "
            "that are made of functions of your own."
        ) from error


def load_model(
    path: str | os.PathLike, device: str = "auto", *, trusted: Sequence[str] = ()
) -> Any:
    """Read a model that `save_model` wrote, without running code from the file.

    Only types on a list are made from the file: this library's, scikit-learn's and
    NumPy's. On the same machine the model predicts bit for bit as it did when it was
    saved.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : str, default="auto"
        Where networks are to predict: "cpu", "cuda", "cuda:1" and so on; "auto" takes
        a GPU where there is one.
    trusted : sequence of str, default=()
        Full names of further types that may be made. Name a type only if you know
        what it does when it is made from a file.

    Returns
    -------
    model : estimator
        The fitted model.

    Raises
    ------
    ModelFileError
        If the file is no model file, is truncated or changed, is of a format that
        this version does not read, or holds types that are not trusted. It is a
        ``ValueError``; the message says which.
    ValueError
        If there is no such device.
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    sklearn.exceptions.InconsistentVersionWarning
        If the model was saved with another version of scikit-learn.

    See Also
    --------
    save_model : Writes the file, and has an example.
    ModelFileError : What is wrong with a file.
    """
    name = printable_name(path)
    header, content = read_model_file(path)
    if not isinstance(trusted, list | tuple | set):
        raise TypeError(
            "Expected trusted to be a list of full names of types, got "
            f"{trusted!r}. Name each that the error of load_model lists."
        )
    trusted = [*trusted_types(), *trusted]
    model = _make_model(content, trusted, name, header["model"]["versions"])
    if not isinstance(model, BaseEstimator):
        raise ModelFileError(f"{name} holds a {type(model).__name__}, not a model.")
    for estimator in estimators_in(model):
        if hasattr(estimator, "_move_to"):
            estimator._move_to(device)
    return model


def _make_model(
    content: bytes, trusted: Sequence[str], name: str, versions: dict[str, str]
) -> Any:
    """Make the model of a file, from trusted types alone."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            check_schema(inner.read("schema.json"))
        return skops.io.loads(content, trusted=trusted)
    except UnsafeSchemaError as error:
        raise ModelFileError(
            f"{name} holds {error}, which save_model never writes. Do not use it; get "
            "the file from whoever made the model."
        ) from None
    except UntrustedTypesFoundException:
        found = set(skops.io.get_untrusted_types(data=content))
        unknown = sorted(found - set(trusted))
        raise ModelFileError(
            f"{name} holds types that are not trusted. If you know who made the file "
            f"and what these are, use load_model(path, trusted={unknown!r})."
        ) from None
    except Exception as error:
        # Code of others, which makes the objects, can fail in many ways.
        raise ModelFileError(
            f"{name} holds no model that can be made here ({type(error).__name__}). It "
            "was saved with "
            f"{', '.join(f'{one} {versions[one]}' for one in versions)}: install "
            "these, or save the model again."
        ) from error


def model_info(path: str | os.PathLike) -> dict[str, Any]:
    """Tell what a model file holds, without making the model.

    Parameters
    ----------
    path : str or path-like
        A file that `save_model` wrote.

    Returns
    -------
    info : dict
        What JSON has a form for: ``saved`` (a date), ``fingerprint`` of the model,
        ``model`` (kind, parameters, classes and their names, thresholds, input,
        normalisation, versions), ``training`` (counts and a fingerprint of the scans,
        or None) and ``scores`` (or None).

    Raises
    ------
    ModelFileError
        If the file is no model file, is truncated or changed, or is of a format that
        this version does not read.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    model_card : The same as a text for people.
    tbsclassify.persistence.was_trained_on : Tells which scans it was trained on.
    save_model : Writes the file.
    """
    header, _ = read_model_file(path)
    return {k: v for k, v in header.items() if k not in ("checksum", "scan_hashes")}
