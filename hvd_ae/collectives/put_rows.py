"""Rows of one array put where they belong in another; this alone of exchanging rows needs no MPI."""

import numpy as np


def put_rows(array: np.ndarray, rows: np.ndarray, into: np.ndarray, places: np.ndarray) -> None:
    """Rows of an array to places of another one, which ascend; where these are one stretch, without a copy between."""
    if len(places) and places[-1] - places[0] + 1 == len(places):
        # "clip" and not "raise", for which NumPy would take them to memory of its own first
        np.take(array, rows, axis=0, out=into[places[0] : places[-1] + 1], mode="clip")
    else:
        into[places] = array[rows]
