"""What a rank holds in memory, in multiples of its vector of parameters."""

import os

import pytest

from benchmarks import jobs

SIZES = (3000, 12_000)  # features; the vectors differ by 36 MB, and what else a process takes by a few
MODEL = '''
import keras

def build(shape):
    """CANDLE's P1B1, as wide as its samples ask for."""
    widths = [shape[0] // 30, shape[0] // 100, shape[0] // 30]
    layers = [keras.layers.Dense(width, activation="relu") for width in widths]
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(shape[0], activation="sigmoid")])
'''


def numbers(features: int) -> int:
    widths = [features, features // 30, features // 100, features // 30, features]
    return sum((before + 1) * after for before, after in zip(widths, widths[1:]))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("strategy", "vectors"), [("gradient", 6), ("sharded", 5)])
def test_a_rank_grows_by_so_many_vectors_with_adam(tmp_path, strategy, vectors):
    """Parameters, Adam's two vectors, the gradient twice while its layers are joined, and what MPI needs; files included."""
    (tmp_path / "wide.py").write_text(MODEL)
    path, peaks = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]), {}
    for features in SIZES:
        trained = jobs.train(2, "--data", f"synthetic:40x{features}", "--model", "wide:build", "--averaging", strategy,
                             "--batch-size", 4, "--epochs", 2, PYTHONPATH=path)
        peaks[features] = max(sizes["peak"] for sizes in trained.memory.values())
    data = 4 * 40 * (SIZES[1] - SIZES[0])
    vector = 4 * (numbers(SIZES[1]) - numbers(SIZES[0]))
    assert peaks[SIZES[1]] - peaks[SIZES[0]] - 2 * data < vectors * vector
