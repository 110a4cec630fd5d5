"""Rows of other ranks: taken from memory that a node shares, sent between nodes, and sent where memory cannot be shared."""

import os

import numpy as np
import pytest

pytestmark = [pytest.mark.jobs("mpi-3"), pytest.mark.engines("mpi")]
ROWS = 50
LIKE = {"samples": ((3, 2), np.dtype(np.float32)), "labels": ((), np.dtype(np.int64))}


def no_memory(*_):
    raise OSError("this system has none")


def exchange_of(comm, node):
    from hvd_ae.collectives.row_exchange import RowExchange

    return RowExchange(comm.communicator, node)


@pytest.mark.parametrize("how", ["one node", "two nodes", "a node each", "no shared memory"])
def test_every_rank_gets_the_rows_that_it_asks_for(comm, how, monkeypatch):
    rank, size = comm.world.rank, comm.world.size
    if how == "no shared memory":
        monkeypatch.setattr(os, "memfd_create", no_memory)
    exchange = exchange_of(comm, {"two nodes": rank // 2, "a node each": rank}.get(how, 0))
    calls = exchange.calls
    memory = exchange.memory(LIKE, ROWS)
    assert (memory.whole is None) == (how == "no shared memory")
    for turn in range(2):  # the same memory again
        memory.own["labels"][...] = 10_000 * turn + 1000 * rank + np.arange(ROWS)
        memory.own["samples"][...] = memory.own["labels"][:, None, None] + np.arange(6).reshape(3, 2) / 8
        exchange.meet()
        random = np.random.default_rng(rank + 7 * turn)
        wanted = 0 if turn and rank == 1 else 80 + rank  # a rank may want none
        owners, rows = random.integers(size, size=wanted), random.integers(ROWS, size=wanted)
        for places in (np.arange(5, 5 + wanted), 2 * np.arange(wanted)):  # one stretch, and scattered
            into = {name: np.full((200, *shape), -1, dtype) for name, (shape, dtype) in LIKE.items()}
            exchange.take(owners, rows, memory, into, places)
            expected = 10_000 * turn + 1000 * owners + rows
            np.testing.assert_array_equal(into["labels"][places], expected)
            np.testing.assert_array_equal(into["samples"][places],
                                          (expected[:, None, None] + np.arange(6).reshape(3, 2) / 8).astype(np.float32))
            assert (np.delete(into["labels"], places) == -1).all()
        exchange.meet()
    # two waits to share the memory, four to meet, and four for each time that rows are sent: their numbers, which, two fields
    assert exchange.calls - calls == 2 + 4 + (0 if how == "one node" else 4 * 4)
    exchange.free()
