"""The 1,797 handwritten digits of 8x8 pixels that ship with scikit-learn."""

import numpy as np

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import Splits

NAMES = ("digits",)


def knows(name: str) -> bool:
    return name in NAMES


def load(name: str, seed: int) -> Splits:
    """A fixed choice of 297 is for validation, whatever the seed."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16.0).astype(np.float32)
    order = np.random.default_rng(297).permutation(len(images))
    train, validation = order[297:], order[:297]
    return Splits(*(from_arrays(name, images[part], labels[part]) for part in (train, validation)))
