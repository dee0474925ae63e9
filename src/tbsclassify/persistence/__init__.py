"""Model files: saved without pickle, loaded without running code, described."""

from tbsclassify.persistence._card import model_card
from tbsclassify.persistence._container import ModelFileError
from tbsclassify.persistence._file import (
    load_model,
    model_info,
    save_model,
)
from tbsclassify.persistence._seen import was_trained_on

__all__ = [
    "ModelFileError",
    "load_model",
    "model_card",
    "model_info",
    "save_model",
    "was_trained_on",
]
