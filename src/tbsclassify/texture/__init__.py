"""Texture without a network: variograms, radiomics, and baselines on both."""

from tbsclassify.texture._radiomics import (
    TextureMatrixFeatures,
    texture_matrix_features,
)
from tbsclassify.texture._radiomics_classifier import make_radiomics_classifier
from tbsclassify.texture._variogram import DIRECTIONS, initial_slope, variogram
from tbsclassify.texture._variogram_features import (
    VariogramFeatures,
    make_texture_classifier,
)

__all__ = [
    "DIRECTIONS",
    "TextureMatrixFeatures",
    "VariogramFeatures",
    "initial_slope",
    "make_radiomics_classifier",
    "make_texture_classifier",
    "texture_matrix_features",
    "variogram",
]
