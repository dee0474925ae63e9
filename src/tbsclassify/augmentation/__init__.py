"""Random flips, rotations and changes of brightness, and copies made with them."""

from tbsclassify.augmentation._random import AugmentationDraws as AugmentationDraws
from tbsclassify.augmentation._random import RandomAugmentation, rotate
from tbsclassify.augmentation._sampler import AugmentationSampler

__all__ = ["AugmentationSampler", "RandomAugmentation", "rotate"]
