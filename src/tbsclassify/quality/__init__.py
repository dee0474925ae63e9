"""Reasons not to use a scan, or one of its vertebrae.

Each check is a number with a limit. `check_scans` returns one row for each scan,
`check_vertebrae` one for each vertebra, and `exclude_vertebrae` removes the vertebrae
that a report or a reader has marked.
"""

from tbsclassify.quality._exclude import exclude_vertebrae
from tbsclassify.quality._limits import LIMITS
from tbsclassify.quality._report import check_scans, check_vertebrae

__all__ = ["LIMITS", "check_scans", "check_vertebrae", "exclude_vertebrae"]
