"""Hashes by which a model file recognises the scans of its training."""

import hashlib
import os
from typing import Any

import numpy as np

from tbsclassify._files import printable_name
from tbsclassify._fingerprint import fingerprint
from tbsclassify._scans import scans_of
from tbsclassify.images import iter_scans
from tbsclassify.persistence._container import read_model_file

# Hexadecimal digits of a hash, 48 bits: among 10,000 scans of a training, one new scan
# in 3e10 is taken for one of them.
_LENGTH = 12


def scan_digests(X: Any) -> list[str] | None:
    """Return a digest of the grey levels of each scan, the same in any form of `X`.

    It is None for rows of numbers or text: a name or an age in a row could be guessed
    and tried against a digest.
    """
    rows = scans_of(X)
    if isinstance(rows, list):
        return [_digest(scan) for scan in iter_scans(rows, channels=True)]
    if getattr(rows, "ndim", 0) >= 3:
        return [_digest(scan) for scan in np.asarray(rows)]
    return None


def _digest(scan: np.ndarray) -> str:
    """Return a digest of grey levels, whatever type of number holds them."""
    if scan.ndim == 3 and len(scan) == 1:
        scan = scan[0]
    with np.errstate(invalid="ignore"):  # NaN is no integer
        whole = scan.astype(np.int64)
    return fingerprint(whole if (whole == scan).all() else scan.astype(np.float64))


def hash_scans(model: str, digests: list[str]) -> np.ndarray:
    """Return a short hash of each digest, of shape (n_scans,).

    The fingerprint of the model enters each, so that the hashes of one scan in the
    files of two models differ.
    """
    hashes = [
        hashlib.sha256(f"{model} {one}".encode()).hexdigest()[:_LENGTH]
        for one in digests
    ]
    return np.array(hashes, dtype=f"S{_LENGTH}")


def was_trained_on(path: str | os.PathLike, X: Any) -> np.ndarray:
    """Tell which scans the model in a file was trained on.

    Parameters
    ----------
    path : str or path-like
        A file that `save_model` wrote, with the scans of the training as its `X`.
    X : array, sequence or table
        Scans as they were passed to `save_model`, whole or cropped, in any form. A
        scan that was exported anew, with other grey levels, is not recognised, nor is
        another scan of the same patient.

    Returns
    -------
    seen : ndarray of bool of shape (n_scans,)
        True for each scan that is among those of the training.

    Raises
    ------
    ModelFileError
        If the file is no model file, is truncated or changed, or is of a format that
        this version does not read.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file knows no scans; if `X` holds rows of numbers.

    See Also
    --------
    save_model : Writes the file.
    model_info : Tells what else a file holds.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tbsclassify import make_texture_classifier, save_model
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.persistence import was_trained_on
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> train, new = scans.frame[:20], scans.frame[18:]
    >>> model = make_texture_classifier().fit(train, scans.tbs[:20] < 1.2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "texture.tbsmodel")
    ...     save_model(model, path, X=train)
    ...     was_trained_on(path, new).tolist()
    [True, True, False, False, False, False]
    """
    seen = seen_scans(path, X)
    if seen is None:
        raise ValueError(
            "Expected path to be a model file that knows the scans of its training, "
            f"got {printable_name(path)}, which does not. Save the model with these "
            "scans: save_model(model, path, X=X)."
        )
    return seen


def seen_scans(path: str | os.PathLike, X: Any) -> np.ndarray | None:
    """Return the mask of `was_trained_on`, or None if the file knows no scans."""
    header, _ = read_model_file(path)
    text = header.get("scan_hashes")
    if not isinstance(text, str):
        return None
    digests = scan_digests(X)
    if digests is None:
        raise ValueError(
            "Expected X to hold scans, got rows of numbers or text, of which a model "
            "file has no hashes. Pass images, or a table with a column 'image'."
        )
    data = text.encode("ascii", "replace")
    known = np.frombuffer(data, f"S{_LENGTH}", count=len(data) // _LENGTH)
    return np.isin(hash_scans(header["fingerprint"], digests), known)
