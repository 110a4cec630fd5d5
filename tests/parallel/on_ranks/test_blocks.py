"""Laws 1, 4, 5, 9 and 11 for data that come in blocks: held by each rank, by all together, and a window at a time."""

import re

import numpy as np
import pytest

from hvd_ae.data.epoch_plan import plan_epoch
from hvd_ae.data.shuffle_memory import Kept
from hvd_ae.data.source import Splits
from hvd_ae.errors import Refused
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.training import execution
from hvd_ae.training import input as training_input
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.input import Input
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.blocks import STARTS, VALUES, Blocks, array_splits, block_splits
from tests.parallel.on_ranks.test_laws import shared_folder
from tests.parallel.on_ranks.training import parameters, settings

BYTES = VALUES.nbytes
# by how samples are kept, what makes it so: bytes that all ranks together may hold
MEMORY = {Kept.BY_EACH: 100 * BYTES, Kept.BY_ALL: BYTES, Kept.WINDOWS: BYTES * 7 // 8}
PARTITIONS = ("reshuffled", "contiguous", "shuffled", "strided")


@pytest.fixture(autouse=True)
def short_calls(monkeypatch):
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 3)  # several super-batches an epoch, and across windows' borders


def given(memory, **changes):
    return settings(data="blocks", batch_size=6, epochs=2, shuffle_memory=str(memory), **changes)


def samples_of(given, plan):
    """This rank's samples of an epoch as its reader gives them, a step at a time, and their numbers."""
    read = [given.reader.read(plan, step, step + 1) for step in range(len(plan.batch_sizes))]
    return np.concatenate([example["samples"] for example, _ in read]), np.concatenate([numbers for _, numbers in read])


@pytest.mark.jobs("mpi-3", "single-1")
@pytest.mark.parametrize("kept", MEMORY)
@pytest.mark.parametrize("partition", PARTITIONS)
def test_laws_6_and_11_every_sample_and_every_block_once(comm, kept, partition):
    if comm.world.size == 1 and kept is Kept.BY_ALL:
        kept = Kept.BY_EACH  # one rank holds all by itself
    source, chosen = Blocks(VALUES), given(MEMORY[kept], partition=partition)
    if partition == "strided" and kept is Kept.WINDOWS:
        with pytest.raises(Refused, match="partition='strided' takes samples of every block to every rank"):
            Input(source, ["samples"], chosen, comm)
        return
    feed = Input(source, ["samples"], chosen, comm)
    assert feed.memory.kept is kept, kept
    feed.prepare()
    for epoch in (1, 2):  # the second uses the memory of the first
        plan = plan_epoch(feed.partition, comm.world, chosen.batch_size, epoch)
        samples, numbers = samples_of(feed, plan)
        feed.reader.read(plan, len(plan.batch_sizes), len(plan.batch_sizes))  # nothing, on all ranks
        all_numbers = comm.all_gather(np.array(numbers, np.int64)).numpy()
        np.testing.assert_array_equal(samples, VALUES[numbers])
        np.testing.assert_array_equal(numbers, plan.indices)
        assert sorted(all_numbers) == list(range(len(VALUES)))
        if epoch == 1:
            all_decoded = comm.all_gather(np.array(source.decoded, np.int64)).numpy()
    feed.close()
    # a part of `contiguous` begins within a block, which its neighbour reads too
    borders = comm.world.size - 1 if (kept, partition) == (Kept.WINDOWS, "contiguous") else 0
    assert len(STARTS) <= len(all_decoded) <= len(STARTS) + borders
    assert set(all_decoded) == set(range(len(STARTS)))


@pytest.mark.jobs("horovod-2")
def test_law_9_blocks_and_arrays_give_the_same_bits_where_all_fit(comm):
    trained = []
    for kept, source in ((Kept.BY_ALL, block_splits()), (Kept.BY_EACH, array_splits())):
        with Session(given(MEMORY[kept]), comm, source) as session:
            session.run()
        trained.append(parameters(session))
    np.testing.assert_array_equal(*trained)


@pytest.mark.jobs("mpi-2")
@pytest.mark.parametrize("strategy", [  # law 1 has gradient
    "parameter", "server", pytest.param("sequential", marks=pytest.mark.soak)])
def test_strategies_whose_ranks_are_not_in_step_exchange_samples_too(comm, strategy):
    changes = {"server": {"server": "async"}, "parameter": {"sync_every": 4}}.get(strategy, {})
    chosen = given(MEMORY[Kept.WINDOWS], averaging=strategy, stall_timeout=60, **changes)
    with Session(chosen, comm, block_splits()) as session:
        reports = session.run()
    assert reports[-1].samples == 2 * len(VALUES)
    assert np.isfinite(parameters(session)).all()


@pytest.mark.jobs("mpi-2")
def test_law_1_in_windows(comm):
    """The order of windows is no matter of ranks: as one rank with the large batch."""
    from hvd_ae.collectives.single import SingleCommunicator

    ranks = comm.world.size
    with Session(given(MEMORY[Kept.WINDOWS]), comm, block_splits()) as session:
        session.run()
    alone = settings(data="blocks", batch_size=6 * ranks, epochs=2, shuffle_memory=str(MEMORY[Kept.WINDOWS]))
    with Session(alone, SingleCommunicator(), block_splits()) as reference:
        assert reference.input.memory.window == session.input.memory.window
        reference.run()
    np.testing.assert_allclose(parameters(session), parameters(reference), rtol=2e-5, atol=2e-6)


@pytest.mark.jobs("mpi-2")
@pytest.mark.parametrize("partition", ["reshuffled", pytest.param("contiguous", marks=pytest.mark.soak)])
def test_law_4_goes_on_in_the_middle_of_a_window(comm, tmp_path_factory, partition, monkeypatch):
    folder, memory = shared_folder(comm, tmp_path_factory), MEMORY[Kept.WINDOWS]

    def run(steps=None, **changes):
        with Session(given(changes.pop("memory", memory), partition=partition, steps=steps), comm, block_splits()) as session:
            if steps is None and changes:
                restore_newest(session, folder)
            session.run()
            if steps is not None:
                save(session, folder, keep=2)
        return parameters(session)

    whole = run()
    run(steps=5)
    with pytest.raises(Refused, match=r"shuffle_memory=.* another order than this run has had so far: ") as refusal:
        run(resume=True, memory=100 * BYTES)
    [value] = re.findall(r"--shuffle-memory (\w+)", str(refusal.value))
    np.testing.assert_array_equal(run(resume=True, memory=value), whole)  # the value that it names does
    monkeypatch.setattr(training_input, "layout_digest", lambda block_starts: 0)
    with pytest.raises(Refused, match="this was begun within windows of other blocks than data='blocks' has now"):
        run(resume=True)


@pytest.mark.jobs("mpi-2")
def test_a_block_that_cannot_be_read_is_named(comm):
    class Bad(Blocks):
        def _decode(self, block, fields):
            if block == 5:
                raise OSError("the disk is gone")
            return super()._decode(block, fields)

    source = Splits(Bad(VALUES), array_splits().validation)
    sentence = r"'blocks' cannot be read in samples 70 to 95 \(OSError: the disk is gone\): copy"
    with pytest.raises(Refused, match=sentence), Session(given(MEMORY[Kept.BY_EACH]), comm, source) as session:
        read_all_blocks(session)


def read_all_blocks(session):
    """By one rank each, and agreed on."""
    own = [block for block in range(len(STARTS)) if block % session.comm.world.size == session.comm.world.rank]
    run_on_all(session.comm, lambda: [session.source.train.read_block(block, ["samples"]) for block in own])


@pytest.mark.jobs("single-1")
def test_a_field_that_the_task_does_not_read_is_refused(comm):
    with pytest.raises(Refused, match="targets='x' has no effect with this task, which reads samples: drop it"):
        Session(given(BYTES, targets="x"), comm, block_splits())
