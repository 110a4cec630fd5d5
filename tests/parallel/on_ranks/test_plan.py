"""The links of a plan, on ranks that take their node from a made-up world."""

import copy
import dataclasses

import numpy as np
import pytest

from hvd_ae.commands.plan.measure import _links
from hvd_ae.errors import Refused


def on_nodes_of_two(comm):
    there, world = copy.copy(comm), comm.world
    there.world = dataclasses.replace(world, node=world.rank // 2, local_rank=world.rank % 2, nodes=(world.size + 1) // 2)
    return there


def test_links_join_the_ranks_of_a_node_and_one_rank_of_each_node(comm):
    rank, size = comm.world.rank, comm.world.size
    if size % 2:
        if size > 1:
            with pytest.raises(Refused, match="nodes have 1 to 2 ranks") as refusal:
                _links(on_nodes_of_two(comm))
            assert refusal.value.raised_on_all_ranks
        assert size > 1 or _links(comm) == {}
        return
    links = _links(on_nodes_of_two(comm))
    assert set(links) == ({"inside", "between"} if size > 2 else {"inside"})
    sums = {name: float(link.sum(np.array([float(rank)])).numpy()[0]) for name, link in links.items()}
    first = rank // 2 * 2
    assert sums["inside"] == first + first + 1
    if size > 2:
        assert sums["between"] == sum(other for other in range(size) if other % 2 == rank % 2)
