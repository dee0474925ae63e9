"""What is known of the trials of a search, in memory and on disk."""

import json
import pickle
from dataclasses import asdict, dataclass, field

import numpy as np

from tbsclassify._checkpoint import write_whole

_STATE = "search_state.pkl"


@dataclass
class TrialRecord:
    """What is known of a trial."""

    number: int
    config: dict  # numbers by name, as Ray has it
    status: str = "unfinished"  # then "complete", "stopped" or "failed"
    score: float = np.nan  # mean over the folds begun
    n_epochs: int = 0
    splits: list = field(default_factory=list)  # results of finished folds
    history: list = field(default_factory=list)  # of (fold, epoch, score, seconds)
    has_all: bool = False
    error: str = ""  # why it failed

    def update(self, result, seconds):
        """Add what a trial reported, so many seconds after the search began."""
        self.score, self.n_epochs = result["score"], result["n_epochs"]
        self.splits, self.has_all = result["splits"], result["complete"]
        self.history += [(*row, seconds) for row in result["rows"]]

    def fail(self, error):
        """Note that a trial failed, and why."""
        self.status, self.error = "failed", error


class Journal:
    """The trials of a search; those that are finished are in a folder at once.

    Parameters
    ----------
    checkpoint : Checkpoint or None
        The folder, if there is one. Finished trials in it count as finished here.
    """

    def __init__(self, checkpoint=None):
        self.records = {}
        self._checkpoint = checkpoint
        if checkpoint is not None:
            for path in sorted(checkpoint.folder.glob("trial-*.npz")):
                text = checkpoint.read(path.stem)["record"].item()
                record = TrialRecord(**json.loads(text))
                self.records[record.number] = record

    def begin(self, config):
        """Return a new record of a trial that begins."""
        number = config.get("candidate", max(self.records, default=-1) + 1)
        self.records[number] = TrialRecord(number, config)
        return self.records[number]

    def finish(self, record, proposers):
        """Keep a record, and what proposes and ends trials as it is after it."""
        record.status = "complete" if record.has_all else "stopped"
        if self._checkpoint is None:
            return
        text = json.dumps(asdict(record), default=float)
        state = pickle.dumps(proposers)
        self._checkpoint.write(f"trial-{record.number:05}", {"record": np.array(text)})
        write_whole(self._state_path, lambda file: file.write(state))

    def read_proposers(self):
        """Return what proposes and ends trials as it was last kept, or None."""
        if self._checkpoint is None or not self._state_path.exists():
            return None
        return pickle.loads(self._state_path.read_bytes())

    @property
    def _state_path(self):
        return self._checkpoint.folder / _STATE
