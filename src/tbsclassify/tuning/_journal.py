"""Records of the trials of a search, in memory and on disk."""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._files import write_whole


@dataclass
class TrialRecord:
    """What a trial has reported so far."""

    number: int
    config: dict  # Ray's configuration, numbers by name
    status: str = "unfinished"  # then "complete", "stopped" or "failed"
    score: float = np.nan  # mean over the folds begun
    n_epochs: int = 0
    splits: list = field(default_factory=list)  # results of finished folds
    history: list = field(default_factory=list)  # of (fold, epoch, score, seconds)
    has_all: bool = False
    error: str = ""  # why it failed

    def update(self, result: dict, seconds: float) -> None:
        """Add a report, made `seconds` after the search began."""
        self.score, self.n_epochs = result["score"], result["n_epochs"]
        self.splits, self.has_all = result["splits"], result["complete"]
        # A trial that continues after a pause repeats its first reports.
        known = {tuple(row[:2]) for row in self.history}
        self.history += [
            (*row, seconds) for row in result["rows"] if tuple(row[:2]) not in known
        ]

    def fail(self, error: str) -> None:
        """Record that the trial failed, and why."""
        self.status, self.error = "failed", error


class Journal:
    """The trials of a search, each written to a folder as soon as it is finished.

    Parameters
    ----------
    checkpoint : Checkpoint or None
        The folder, if any. Trials in it count as finished.
    """

    def __init__(self, checkpoint: Checkpoint | None = None):
        self.records: dict[int, TrialRecord] = {}
        self._checkpoint = checkpoint
        if checkpoint is None:
            return
        for name in checkpoint.names():
            arrays = checkpoint.read(name) or {}
            record = TrialRecord(**json.loads(arrays["record"].item()))
            self.records[record.number] = record
            checkpoint.forget_training(trial_name(record.number))

    def begin(self, config: dict) -> TrialRecord:
        """Return the record of a new trial."""
        number = config.get("candidate", max(self.records, default=-1) + 1)
        self.records[number] = TrialRecord(number, config)
        return self.records[number]

    def finish(self, record: TrialRecord, proposers: tuple) -> None:
        """Keep a record, with the state of search algorithm and scheduler after it."""
        record.status = "complete" if record.has_all else "stopped"
        if self._checkpoint is None:
            return
        text = json.dumps(asdict(record), default=float)
        try:
            state = pickle.dumps(proposers)
        except (AttributeError, TypeError, pickle.PicklingError):
            # As of HyperBandScheduler. After an interruption a new one takes over.
            search_alg, _, others = proposers
            state = pickle.dumps((search_alg, None, others))
        name = trial_name(record.number)
        # In this order: a trial that is interrupted between the two runs again. If the
        # scheduler had never heard of it, others would wait for it without end.
        write_whole(_state_path(self._checkpoint), lambda file: file.write(state))
        self._checkpoint.write(name, {"record": np.array(text)})
        self._checkpoint.forget_training(name)

    def read_proposers(self) -> tuple | None:
        """Return the last `proposers` that `finish` kept, or None."""
        path = None if self._checkpoint is None else _state_path(self._checkpoint)
        if path is None or not path.exists():
            return None
        return pickle.loads(path.read_bytes())


def trial_name(number: int) -> str:
    """Return the name of a trial's files."""
    return f"trial-{number:05}"


def place_of_trial(
    checkpoint: Checkpoint | None, config: dict
) -> Callable[[str], Path] | None:
    """Return a function that gives the files, by name, from which a trial is resumed.

    A search algorithm does not repeat what it proposed before an interruption, so its
    trials are not resumed.
    """
    if checkpoint is None or "candidate" not in config:
        return None
    if not checkpoint.folder.exists():
        return None  # on another machine than the driver
    return partial(checkpoint.training_file, trial_name(config["candidate"]))


def _state_path(checkpoint: Checkpoint) -> Path:
    return checkpoint.folder / "search_state.pkl"
