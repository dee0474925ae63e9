"""A folder in which every finished piece of a long run is one file."""

import json
import os
from pathlib import Path

import joblib
import numpy as np

_MANIFEST = "manifest.json"


class Checkpoint:
    """Named groups of arrays on disk, each there whole or not at all.

    Files are NumPy's npz without pickles. What the run is made of stands in a
    manifest, so that files of another run are never taken for those of this one.

    Parameters
    ----------
    folder : str or path-like
        The folder, made where it is not there.
    identity : dict of str to object
        What the results depend on, by a name that an error can use. Hashes of
        the values are kept, not the values.
    name : str, default="checkpoint_dir"
        What errors call the folder.
    """

    def __init__(self, folder, identity, name="checkpoint_dir"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = {name: joblib.hash(value) for name, value in identity.items()}
        manifest = self.folder / _MANIFEST
        if not manifest.exists():
            write_whole(manifest, lambda file: file.write(json.dumps(ours).encode()))
            return
        theirs = json.loads(manifest.read_text())
        other = [name for name in ours if ours[name] != theirs.get(name)]
        if other:
            raise ValueError(
                f"{name}={str(folder)!r} holds a run with other "
                f"{', '.join(other)}. To resume that run give what it was called "
                "with; for a new one name another folder."
            )

    @staticmethod
    def is_one(folder):
        """Whether there is a checkpoint in a folder."""
        return Path(folder, _MANIFEST).exists()

    def read(self, name):
        """Return the arrays under a name, or None where there are none yet."""
        path = self._path(name)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def write(self, name, arrays):
        """Put arrays under a name."""
        write_whole(self._path(name), lambda file: np.savez(file, **arrays))

    def _path(self, name):
        return self.folder / f"{name}.npz"


def write_whole(path, write):
    """Write a file so that it is never seen half written."""
    unfinished = path.with_name(path.name + ".tmp")
    with open(unfinished, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def content(X):
    """Values of scans, however they are laid out in memory; paths stay paths."""
    if hasattr(X, "columns"):
        return [(name, content(X[name].to_numpy())) for name in X.columns]
    if isinstance(X, np.ndarray) and X.dtype.kind != "O":
        return X.dtype.str, X.shape, X.tobytes()
    if np.iterable(X) and not isinstance(X, str):
        return [content(x) for x in X]
    return X
