"""Communicators are given back: MPI has some two thousand, and a sweep in one process trains as often."""

import numpy as np
import pytest

ROUNDS = 2200


def test_watching_takes_none_for_good(comm, tmp_path):
    for _ in range(ROUNDS):
        with comm.watched(600, tmp_path):
            pass
    assert comm.sum(np.ones(1, np.float32)).numpy()[0] == comm.world.size


@pytest.mark.engines("mpi", "horovod")
def test_what_moves_bytes_beside_takes_none_for_good(comm):
    world, before = comm.world, comm.traffic
    for number in range(ROUNDS // 3):  # three communicators each, and a window's now and then
        messages, background, group = comm.point_to_point(), comm.async_sum(), comm.split([[*range(world.size)]])
        if number % 100 == 0:
            background.begin(np.full(10, world.rank + 1, np.float32))  # `free` waits for it
            comm.free_beside(comm.parameter_window(10))
        comm.free_beside(messages)
        comm.free_beside(background)
        group.free()
    moved = comm.traffic - before
    sums = -(-(ROUNDS // 3) // 100)
    assert moved.calls == sums
    assert abs(moved.bytes_sent - sums * 80 * (world.size - 1) / world.size) <= sums
