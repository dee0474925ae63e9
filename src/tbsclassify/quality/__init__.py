"""What speaks against using a scan, or one of its vertebrae.

Each check is a number with a limit. `check_scans` has a row a scan,
`check_vertebrae` a row a vertebra, and `exclude_vertebrae` drops what either a
report or a reader has marked.
"""

from tbsclassify.quality._exclude import exclude_vertebrae
from tbsclassify.quality._limits import LIMITS
from tbsclassify.quality._report import check_scans, check_vertebrae

__all__ = ["LIMITS", "check_scans", "check_vertebrae", "exclude_vertebrae"]
