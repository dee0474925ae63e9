"""Hyperparameter search on Ray that ends bad trials by epoch."""

from tbsclassify.tuning._search import RayTuneSearchCV

__all__ = ["RayTuneSearchCV"]
