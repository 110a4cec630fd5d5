"""Communicators are given back: MPI has some two thousand, and a sweep in one process trains as often."""

import numpy as np

ROUNDS = 2200


def test_watching_takes_none_for_good(collectives, tmp_path):
    for _ in range(ROUNDS):
        with collectives.watched(600, tmp_path):
            pass
    assert collectives.sum(np.ones(1, np.float32)).numpy()[0] == collectives.world.size


def test_what_moves_bytes_beside_takes_none_for_good(collectives):
    if collectives.name == "single":
        return
    world, before = collectives.world, collectives.traffic
    for number in range(ROUNDS // 3):  # three communicators each, and a window's now and then
        messages, background, group = collectives.messages(), collectives.background(), collectives.split([[*range(world.size)]])
        if number % 100 == 0:
            background.begin(np.full(10, world.rank + 1, np.float32))  # `free` waits for it
            collectives.free_beside(collectives.parameter_window(10))
        collectives.free_beside(messages)
        collectives.free_beside(background)
        group.free()
    moved = collectives.traffic - before
    sums = -(-(ROUNDS // 3) // 100)
    assert moved.calls == sums
    assert abs(moved.bytes_sent - sums * 80 * (world.size - 1) / world.size) <= sums
