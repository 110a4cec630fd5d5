"""What a rank holds in memory, in multiples of its vector of parameters."""

import os

import pytest

from benchmarks import jobs

FEATURES = 18_000
# Each layer takes more than 32 MB: what is smaller, malloc keeps after it was freed, more or less of it from run to run.
WIDTHS = (500, 750)
MODEL = '''
import keras

def build(shape, width):
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(width, activation="relu"),
                             keras.layers.Dense(shape[0], activation="sigmoid")])

def width_500(shape):
    return build(shape, 500)

def width_750(shape):
    return build(shape, 750)
'''


def vector_bytes(width: int) -> int:
    return 4 * ((FEATURES + 1) * width + (width + 1) * FEATURES)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("strategy", "vectors"), [("gradient", 6), ("sharded", 5)])
def test_a_rank_grows_by_so_many_vectors_with_adam(tmp_path, strategy, vectors):
    """Parameters, Adam's two vectors, the gradient twice while its layers are joined, and what MPI needs; files included."""
    (tmp_path / "wide.py").write_text(MODEL)
    path, peaks = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]), {}
    for width in WIDTHS:
        trained = jobs.train(2, "--data", f"synthetic:16x{FEATURES}", "--model", f"wide:width_{width}", "--averaging",
                             strategy, "--batch-size", 4, "--epochs", 1, PYTHONPATH=path)
        peaks[width] = max(sizes["peak"] for sizes in trained.memory.values())
    narrow, wide = WIDTHS
    assert peaks[wide] - peaks[narrow] < vectors * (vector_bytes(wide) - vector_bytes(narrow))
