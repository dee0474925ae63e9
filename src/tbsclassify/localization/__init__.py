"""Find the vertebrae L1 to L4 in bare scans."""

from tbsclassify.localization._localizer import LumbarLocalizer

__all__ = ["LumbarLocalizer"]
