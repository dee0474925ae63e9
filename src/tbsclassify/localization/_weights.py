"""The knowledge of a localizer, and the file that the library ships it in."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from tbsclassify.localization._decode import Habits
from tbsclassify.localization._levels import LevelModel

FILE = Path(__file__).with_name("weights.safetensors")


class Knowledge(NamedTuple):
    """Network, level model and habits, as arrays so that pickles are small."""

    network: dict[str, np.ndarray]
    levels: LevelModel
    habits: Habits


@lru_cache(maxsize=1)
def shipped_knowledge() -> Knowledge:
    """Read the knowledge that was learned from phantoms."""
    arrays = load_file(FILE)
    network = {
        name.removeprefix("network."): values.astype(np.float32)
        for name, values in arrays.items()
        if name.startswith("network.")
    }
    levels = LevelModel(arrays["levels.coef"], arrays["levels.intercept"])
    return Knowledge(network, levels, Habits(*arrays["habits"].tolist()))


def write_knowledge(knowledge: Knowledge, path: Path, metadata: dict[str, str]) -> None:
    """Write a file that `shipped_knowledge` reads, the network in half precision."""
    arrays = {
        f"network.{name}": values.astype(np.float16)
        for name, values in knowledge.network.items()
    }
    arrays["levels.coef"] = knowledge.levels.coef.astype(np.float32)
    arrays["levels.intercept"] = knowledge.levels.intercept.astype(np.float32)
    arrays["habits"] = np.array(knowledge.habits, dtype=np.float32)
    save_file(arrays, path, metadata)
