"""Scans: those of a user by `load_scans`, or phantoms."""

from tbsclassify.datasets._load import load_scans
from tbsclassify.datasets._phantoms import make_dxa_phantoms

__all__ = ["load_scans", "make_dxa_phantoms"]
