"""Hashes by which a model recognises the scans that it was trained on."""

import hashlib
from typing import Any

import numpy as np

from tbsclassify._fingerprint import fingerprint
from tbsclassify._scans import scans_of
from tbsclassify.images import iter_scans

# Hexadecimal digits of a hash, 48 bits: among 10,000 scans of a training, one new scan
# in 3e10 is taken for one of them.
_LENGTH = 12


def scan_digests(X: Any) -> list[str]:
    """Return a digest of the grey levels of each scan, in any form of `X`."""
    rows = scans_of(X)
    scans = iter_scans(X, channels=True) if isinstance(rows, list) else np.asarray(rows)
    return [fingerprint(scan) for scan in scans]


class TrainingScans:
    """Recognises the scans that a model was trained on.

    A model that `load_model` returns has it in ``training_scans_``, if `save_model`
    was told the scans. It holds a short hash of the grey levels of each.

    Parameters
    ----------
    model : str
        Fingerprint of the model. It enters each hash, so that the hashes of one scan
        in the files of two models differ.
    hashes : ndarray of bytes of shape (n_scans,)
        The hashes, sorted.

    See Also
    --------
    load_model : Returns a model that has it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tbsclassify import load_model, make_texture_classifier, save_model
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> train, new = scans.frame[:20], scans.frame[18:]
    >>> model = make_texture_classifier().fit(train, scans.tbs[:20] < 1.2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "texture.tbsmodel")
    ...     save_model(model, path, X=train)
    ...     model = load_model(path)
    >>> model.training_scans_.among(new).tolist()
    [True, True, False, False, False, False]
    """

    def __init__(self, model: str, hashes: np.ndarray):
        self._model, self._hashes = model, hashes

    @classmethod
    def from_digests(cls, model: str, digests: list[str]) -> "TrainingScans":
        """Hash the digests of scans, and forget their order."""
        return cls(model, np.unique(_hashes(model, digests)))

    @classmethod
    def from_text(cls, model: str, text: Any) -> "TrainingScans | None":
        """Read what `to_text` wrote; None if it is no text, as in files without."""
        if not isinstance(text, str):
            return None
        data = text.encode("ascii", "replace")
        n_hashes = len(data) // _LENGTH
        return cls(model, np.frombuffer(data, f"S{_LENGTH}", count=n_hashes))

    def to_text(self) -> str:
        """Return all hashes as one text."""
        return self._hashes.tobytes().decode()

    def __len__(self) -> int:
        return len(self._hashes)

    def among(self, X: Any) -> np.ndarray:
        """Tell which scans the model was trained on.

        Parameters
        ----------
        X : array, sequence or table
            Scans, in the form in which they were passed to `save_model`: whole scans
            or crops. A scan that was exported anew, with other grey levels, is not
            recognised, nor is another scan of the same patient.

        Returns
        -------
        seen : ndarray of bool of shape (n_scans,)
            True for each scan that is among those of the training.
        """
        return np.isin(_hashes(self._model, scan_digests(X)), self._hashes)


def _hashes(model: str, digests: list[str]) -> np.ndarray:
    hashes = [
        hashlib.sha256(f"{model} {one}".encode()).hexdigest()[:_LENGTH]
        for one in digests
    ]
    return np.array(hashes, dtype=f"S{_LENGTH}")
