"""What the launcher says, what MPI sees, and what a rank's share of a node is."""

import pytest

from hvd_ae.collectives.communicator import part_sizes
from hvd_ae.errors import Refused
from hvd_ae.runtime.devices import fair_share, gpu_for
from hvd_ae.runtime.world import Launch, World, check_launch, read_launch


@pytest.mark.parametrize("environ, size, rank", [
    ({}, 1, 0),
    ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "PMIX_RANK": "3"}, 4, 3),
    ({"PMI_SIZE": "2", "PMI_RANK": "1"}, 2, 1),
    ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "PMIX_RANK": "5"}, 8, 5),
    # srun --mpi=pmix tells the rank by PMIx alone
    ({"SLURM_STEP_NUM_TASKS": "8", "PMIX_RANK": "6"}, 8, 6),
    ({"PALS_SIZE": "3", "PALS_RANKID": "2"}, 3, 2),
    # mpirun inside a Slurm job: Hydra's proxies are tasks of a step, one a node, and their variables reach the ranks
    ({"PMI_SIZE": "6", "PMI_RANK": "4", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, 6, 4),
    # a batch script is no rank
    ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, 1, 0),
])
def test_the_innermost_launcher_is_believed(environ, size, rank):
    launch = read_launch(environ)
    assert (launch.size, launch.rank) == (size, rank)


def test_a_launcher_that_talks_nonsense_is_refused():
    with pytest.raises(Refused, match="PMI_SIZE='four' is not a whole number"):
        read_launch({"PMI_SIZE": "four"})


def test_lone_copies_are_refused():
    with pytest.raises(Refused, match="PMI_SIZE=4 but horovod sees 1 rank: the launcher and the MPI that Horovod"):
        check_launch(Launch("PMI_SIZE", 4, 2), World(), "horovod")
    with pytest.raises(Refused, match=r"PMI_SIZE=4 but mpi sees 2 ranks: .* that mpi4py was .*; start the ranks with"):
        check_launch(Launch("PMI_SIZE", 4, 2), World(0, 2), "mpi")
    with pytest.raises(Refused, match="collectives='single' is one process by itself"):
        check_launch(Launch("PMI_SIZE", 4, 2), World(), "single")
    check_launch(Launch("PMI_SIZE", 2, 0), World(0, 2), "mpi")
    check_launch(Launch(), World(), "single")


@pytest.mark.parametrize("own, all_ranks, threads", [
    ({0, 1, 2, 3}, [{0, 1, 2, 3}], 4),  # alone on the node
    ({0, 1, 2, 3}, [{0, 1, 2, 3}] * 2, 2),  # two ranks that share all cores
    ({0, 1}, [{0, 1}, {2, 3}], 2),  # two ranks bound to cores of their own
    ({0, 1}, [{0, 1}] * 3, 1),  # more ranks than cores
    ({0, 1, 2}, [{0, 1, 2}, {2, 3, 4}], 2),  # bound, with one core in common
])
def test_threads_are_a_fair_share_of_the_cores(own, all_ranks, threads):
    assert fair_share(own, all_ranks) == threads


def test_gpus_go_by_local_rank():
    assert gpu_for(3, gpus=0) is None
    assert gpu_for(3, gpus=1) == 0  # the launcher shows each rank its own
    assert gpu_for(3, gpus=4) == 3
    with pytest.raises(Refused, match="local rank 4 has no GPU of its own, 4 are visible"):
        gpu_for(4, gpus=4)


def test_parts_differ_by_at_most_one():
    for count in range(60):
        for ranks in range(1, 20):
            sizes = part_sizes(count, ranks)
            assert len(sizes) == ranks and sum(sizes) == count
            assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1
    assert part_sizes(7, 3) == [3, 2, 2]
    assert part_sizes(2, 4) == [1, 1, 0, 0]
