"""A folder in which every finished piece of a long run is one file."""

import json
import os
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tbsclassify._files import as_path, write_whole
from tbsclassify._fingerprint import fingerprint

_MANIFEST = "manifest.json"
# A run is not resumed with another version of what its numbers come from.
_PACKAGES = ("tbsclassify", "scikit-learn", "torch")


class Checkpoint:
    """Named groups of arrays on disk, each there whole or not at all.

    Files are NumPy's npz without pickles. A manifest says what the run is made of,
    so that files of another run are never taken for those of this one. Several
    processes may use one folder.

    Parameters
    ----------
    folder : str or path-like
        The folder. It is made if it does not exist.
    identity : dict of str to object
        What the results depend on, by a name that an error can use. The
        fingerprints of the values are kept, not the values.
    """

    def __init__(self, folder: str | os.PathLike, identity: dict[str, Any]):
        self.folder = as_path(folder).absolute()  # workers may be elsewhere
        ours = identify(identity)
        theirs = self._read_or_write_manifest(ours)
        if identity and not identity.keys() & theirs.keys():
            raise ValueError(
                f"checkpoint_dir={str(folder)!r} holds a run of another kind, which "
                f"depends on {', '.join(theirs)}. Name another folder: a comparison "
                "and a search need one each."
            )
        if other := differences(ours, theirs):
            raise ValueError(
                f"checkpoint_dir={str(folder)!r} holds a run with other "
                f"{', '.join(other)}. To resume that run, call it with what it was "
                "started with. For a new run, name another folder."
            )

    def _read_or_write_manifest(self, ours: dict[str, str]) -> dict[str, str]:
        """Return the manifest of the folder, and fail where it cannot be written to."""
        manifest = self.folder / _MANIFEST
        text = json.dumps(ours, indent=1).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(manifest, lambda file: file.write(text), replace=False)
            return json.loads(manifest.read_text())
        except OSError as error:
            raise OSError(
                f"Expected checkpoint_dir to be a folder that can be written to, got "
                f"{str(self.folder)!r} ({error})."
            ) from error
        except ValueError:
            raise ValueError(
                f"{_MANIFEST} in checkpoint_dir={str(self.folder)!r} was not written "
                "by this library. Name another folder."
            ) from None

    def names(self) -> list[str]:
        """Return the names of all pieces, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.npz"))

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a piece, or None if there are none yet.

        A damaged file, as a full disk may leave it, counts as none.
        """
        path = self._path(name)
        if not path.exists():
            return None
        try:
            # Opened here, since NumPy does not close a file that it cannot read.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (EOFError, ValueError, zipfile.BadZipFile):
            return None

    def write(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Write the arrays of a piece."""
        write_whole(self._path(name), lambda file: np.savez(file, **arrays))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def training_file(self, name: str, part: Any) -> Path:
        """Return the file for one of the trainings that the piece `name` is made of."""
        return self.folder / f"{name}.{part}.training"

    def forget_training(self, name: str) -> None:
        """Remove the files of all trainings of a piece that is finished."""
        for path in self.folder.glob(f"{name}.*.training*"):
            path.unlink(missing_ok=True)


def identify(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return fingerprints of what a run depends on, package versions included."""
    ours = {name: fingerprint(value) for name, value in identity.items()}
    return ours | {f"version of {package}": version(package) for package in _PACKAGES}


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the names under which two runs differ."""
    return [one for one in {**ours, **theirs} if ours.get(one) != theirs.get(one)]
