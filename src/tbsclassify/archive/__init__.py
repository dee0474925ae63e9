"""Score archives of scans of any size with a fitted model, or locate L1-L4 in them."""

from tbsclassify.archive._locate import locate_archive
from tbsclassify.archive._names import path_of
from tbsclassify.archive._predict import predict_archive
from tbsclassify.archive._run import ArchiveResult

__all__ = ["ArchiveResult", "locate_archive", "path_of", "predict_archive"]
