"""The links of a plan, on ranks that take their node from a made-up world."""

import copy
import dataclasses

import numpy as np
import pytest

from hvd_ae.commands.plan.measure import _links
from hvd_ae.errors import Refused

pytestmark = pytest.mark.jobs("single-1", "mpi-2", "mpi-3", "mpi-4")


def on_nodes_of_two(comm):
    there, world = copy.copy(comm), comm.world
    there.world = dataclasses.replace(world, node=world.rank // 2, local_rank=world.rank % 2, nodes=(world.size + 1) // 2)
    return there


@pytest.mark.ranks(1)
def test_one_rank_has_no_links(comm):
    assert _links(comm) == {}


@pytest.mark.ranks(3)
def test_nodes_of_different_size_have_no_links(comm):
    with pytest.raises(Refused, match="nodes have 1 to 2 ranks") as refusal:
        _links(on_nodes_of_two(comm))
    assert refusal.value.raised_on_all_ranks


@pytest.mark.ranks(2, 4)
def test_links_join_the_ranks_of_a_node_and_one_rank_of_each_node(comm):
    rank, size = comm.world.rank, comm.world.size
    links = _links(on_nodes_of_two(comm))
    assert set(links) == ({"inside", "between"} if size > 2 else {"inside"})
    sums = {name: float(link.sum(np.array([float(rank)])).numpy()[0]) for name, link in links.items()}
    first = rank // 2 * 2
    assert sums["inside"] == first + first + 1
    if size > 2:
        assert sums["between"] == sum(other for other in range(size) if other % 2 == rank % 2)
