"""What `hvd-ae convert` stands on: the same stretches on any ranks, values as a reader finds them, a start after a kill."""

import os
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.commands.convert.layout import Layout, plan_stretches
from hvd_ae.commands.convert.npy import NpyWriter
from hvd_ae.commands.convert.partial import Partial, folder_of
from hvd_ae.data.arrays import ArraySource, from_arrays
from hvd_ae.data.load import load_samples
from hvd_ae.data.order import AsItLies, WindowedOrder
from hvd_ae.data.source import LABELS, SAMPLES, Field
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

SAMPLES_10 = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.mark.parametrize("done", [0, 1, 3, 9, 10, 11])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_stretches_are_the_same_on_any_number_of_ranks(ranks, done):
    firsts = np.array([0, 30, 31, 70])
    order = WindowedOrder(firsts, np.diff(firsts, append=103), 2, 5)
    plans = [plan_stretches(order, 10, done, World(rank, ranks)) for rank in range(ranks)]
    steps = {len(plan.batch_sizes) for plan in plans}
    assert len(steps) == 1
    stretches = [order.indices(plan.positions_of(step, step + 1)) for step in range(steps.pop()) for plan in plans]
    whole = order.indices(np.arange(103))
    assert [stretch.tolist() for stretch in stretches if len(stretch)] == \
        [whole[first : first + 10].tolist() for first in range(min(10 * done, 103), 103, 10)]
    for step in range(len(plans[0].batch_sizes)):
        first, end = plans[0].span_of(step, step + 1)
        taken = np.concatenate([plan.positions_of(step, step + 1) for plan in plans])
        assert (first, end) == (taken.min(), taken.max() + 1) and len(taken) == end - first


def test_as_it_lies():
    firsts = np.array([0, 4, 9])
    order = AsItLies(firsts, np.array([4, 5, 2]), 2)
    assert order.count == 11 and order.indices(np.array([3, 10])).tolist() == [3, 10]
    assert order.window_range(1) == (9, 11) and order.places(1, np.array([9, 10])).tolist() == [0, 1]


@pytest.mark.parametrize(("dtype", "scale", "written", "values"), [
    (np.uint8, 1 / 255, np.uint8, [0, 5, 255]),
    (np.float32, 1.0, np.float32, [0, 5, 255]),
    (np.float32, 0.5, np.float32, [0, 2.5, 127.5]),
    (np.uint8, 1.0, np.float32, [0, 5, 255]),  # bytes that are no picture: a reader would divide them by 255
    (np.int16, 1.0, np.float32, [0, 5, 255]),
])
def test_a_reader_finds_what_the_model_saw(tmp_path, dtype, scale, written, values):
    array = np.array([[0, 5, 255]], dtype)
    source = ArraySource("x", {SAMPLES: array}, {SAMPLES: Field((3,), np.dtype(dtype), scale)})
    [found] = Layout(source).as_written({SAMPLES: array}).values()
    assert found.dtype == Layout(source).fields[SAMPLES].dtype == written and found.tolist() == [values]
    np.save(tmp_path / "x.npy", found)
    np.testing.assert_array_equal(load_samples(str(tmp_path / "x.npy")).seen(np.array([0])), source.seen(np.array([0])))


def begun(destination: Path, **identity) -> tuple[Partial, NpyWriter]:
    layout = Layout(from_arrays("x", SAMPLES_10, np.arange(10)))
    writer = NpyWriter(folder_of(destination), destination.name, layout, {})
    return Partial(destination, writer, identity, 1, None), writer


def test_a_start_after_a_kill_in_the_midst_of_renaming(tmp_path):
    destination = tmp_path / "x.npy"
    partial, writer = begun(destination, order="in order")
    writer.write(0, {SAMPLES: SAMPLES_10, LABELS: np.arange(10)})
    partial.note([["ab" * 32]])
    writer.end({"checksum": "cd" * 32})
    os.rename(partial.folder / "x.labels.npy", tmp_path / "x.labels.npy")  # and no more than that
    partial.release()
    with pytest.raises(Refused, match="was begun with order 'in order', where it is 'shuffled' now"):
        begun(destination, order="shuffled")
    partial, writer = begun(destination, order="in order")
    assert partial.noted == [["ab" * 32]]
    with pytest.raises(Refused, match="x.npy is being written by process"):
        begun(destination, order="in order")
    writer.end({"checksum": "cd" * 32})
    partial.finish()
    partial.release()
    assert sorted(os.listdir(tmp_path)) == ["x.convert.json", "x.labels.npy", "x.npy"]
    np.testing.assert_array_equal(np.load(destination), SAMPLES_10)
    np.testing.assert_array_equal(np.load(tmp_path / "x.labels.npy"), np.arange(10))
