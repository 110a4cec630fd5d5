"""What training changes, variable by variable: its kind says who holds it, and what becomes of it on other ranks."""

from enum import Enum
from typing import NamedTuple

import tensorflow as tf


class Kind(Enum):
    """What a variable is."""

    PARAMETERS = "parameters"
    BUFFERS = "buffers"  # float32 state of layers, of which there is a mean: moving statistics
    SEED = "seed"  # of random draws
    TABLE = "table"  # state of layers of which there is no mean: masks, indices, quantised kernels
    OPTIMIZER = "optimizer"  # its vectors: momentum, velocity and so on
    COUNT = "count"  # its scalars
    STRATEGY = "strategy"  # what an averaging strategy adds


class State(NamedTuple):
    """A variable that training changes."""

    variable: tf.Variable
    kind: Kind
    of_rank: bool = False  # whether each rank has its own, even when the ranks are synchronized
