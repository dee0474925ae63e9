"""Skorch's history of a training, as a table and as plain values."""

from typing import Any

import numpy as np
import pandas as pd

# Skorch's names of the first columns of the table.
_COLUMNS = ("epoch", "train_loss", "valid_loss", "dur")


def count_finished(history: Any) -> int:
    """Count the finished epochs, those with a duration."""
    return sum("dur" in epoch for epoch in history)


def without_batches(history: Any) -> list[dict[str, Any]]:
    """Return what was recorded of each epoch, but not of its batches."""
    return [
        {name: value for name, value in epoch.items() if name != "batches"}
        for epoch in history
    ]


def history_table(net: Any) -> pd.DataFrame:
    """Return the table `history_` of a trained net, one row for each epoch."""
    epochs = without_batches(net.history)
    names = dict.fromkeys(name for epoch in epochs for name in epoch)
    table = {
        "seconds" if name == "dur" else name: [
            epoch.get(name, np.nan) for epoch in epochs
        ]
        for name in dict.fromkeys([*_COLUMNS, *names])
        if name in names and not name.endswith(("_best", "_batch_count"))
    }
    table["seconds"][0] += net.seconds_before_epochs_
    return pd.DataFrame(table)
