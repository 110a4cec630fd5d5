"""Codes, scores and thresholds are the same bytes on any number of ranks, in any format, and after a start that was killed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.commands.outputs import write_outputs
from hvd_ae.commands.sample import _Numbers
from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import NUMBER, SAMPLES
from hvd_ae.errors import NotWritten
from hvd_ae.inference import scores
from hvd_ae.inference.blocks import Blocks
from hvd_ae.inference.functions import decoded, drawn
from hvd_ae.inference.gaussian import measure_gaussian
from hvd_ae.inference.judging import judged_of, sums_over, with_numbers
from hvd_ae.inference.ranking import quantiles, rank
from hvd_ae.inference.scores import Parts, Scoring
from hvd_ae.models.autoencoders import LOG_VARIANCE, MEAN
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks import task_of
from tests.parallel.on_ranks.blocks import STARTS
from tests.parallel.on_ranks.blocks import Blocks as InBlocks
from tests.parallel.on_ranks.test_laws import shared_folder

pytestmark = pytest.mark.jobs("mpi-3", "mpi-2", "mpi-4", "horovod-2")
ALONE = SingleCommunicator()
RANDOM = np.random.default_rng(17)
VALUES = RANDOM.normal(size=(241, 40)).astype(np.float32)
KERNEL = RANDOM.normal(size=(40, 7)).astype(np.float32)


def function(example):
    codes = tf.tanh(tf.matmul(example[SAMPLES], tf.constant(KERNEL)))
    return {"codes": codes, "vectors": codes, "scores": tf.reduce_sum(tf.square(codes), axis=1)}


def columns(example):
    return {"columns": tf.cast(function(example)["codes"], tf.float64)}


def blocks(comm, source=None):
    return Blocks(function, source or from_arrays("x", VALUES), [SAMPLES], comm, batch_size=16)


def written(comm, folder, output, keep=None, source=None, name="codes"):
    write_outputs(blocks(comm, source), name, str(folder / output), str(folder), {}, comm, keep)


def test_rows_are_written_in_place_with_the_same_bytes_as_by_one_rank(comm, tmp_path_factory):
    folder = shared_folder(comm, tmp_path_factory)
    for output in ("x.npy", "x.h5", "x.parquet"):
        written(comm, folder, output)
        if comm.world.is_root:
            written(ALONE, folder, f"alone-{output}")
    written(comm, folder, "of-blocks.npy", source=InBlocks(VALUES))
    comm.barrier()
    same = [(folder / "x.npy", folder / "of-blocks.npy")] + [
        (folder / "x.npy", folder / "alone-x.npy"), (folder / "x.h5", folder / "alone-x.h5"),
        *((part, folder / "alone-x.parquet" / part.name) for part in sorted((folder / "x.parquet").iterdir()))]
    assert len(same) > 3
    for one, other in same:
        assert one.read_bytes() == other.read_bytes(), one
    np.testing.assert_allclose(np.load(folder / "x.npy"), np.tanh(VALUES @ KERNEL), rtol=1e-4, atol=1e-5)


def test_a_start_after_one_that_ended_in_the_middle_writes_what_is_missing(comm, tmp_path_factory):
    """The second start passes none of the noted units, and is told of their results all the same."""
    folder, seen = shared_folder(comm, tmp_path_factory), []

    def fails(unit):
        seen.append(unit.first)
        if len(seen) == 3:  # of every rank; of the two before, the root has noted that they are written
            raise NotWritten("the disk is full")

    with pytest.raises(NotWritten, match="the disk is full"):
        written(comm, folder, "x.npy", fails)
    assert (folder / "x.npy.partial" / "done.txt").exists() and not (folder / "x.npy").exists()
    noted = {int(line) for line in (folder / "x.npy.partial" / "done.txt").read_text().split()}
    comm.barrier()
    kept, passed = {}, []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Blocks, "_of_block", lambda self, read, of=Blocks._of_block: passed.append(1) or of(self, read))
        written(comm, folder, "x.npy", lambda unit: kept.update({unit.first: unit.outputs["codes"]}))
    counts = comm.sum(np.array([len(passed), sum(map(len, kept.values()))], np.int64)).numpy().tolist()
    written(comm, folder, "whole.npy")
    comm.barrier()
    assert len(noted) == 2 * comm.world.size and counts == [16 - len(noted), len(VALUES)]
    assert (folder / "x.npy").read_bytes() == (folder / "whole.npy").read_bytes()
    expected = np.load(folder / "whole.npy")
    for first, codes in kept.items():
        np.testing.assert_array_equal(codes, expected[first : first + len(codes)])


def test_what_is_measured_of_scores_has_the_same_bits(comm):
    own, of_all = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    numbers = [np.zeros(0, np.int64)]
    units = blocks(comm)

    def keep(unit):
        own.append(unit.outputs["scores"])
        numbers.append(np.arange(unit.first, unit.end))

    units.each(keep)
    blocks(ALONE).each(lambda unit: of_all.append(unit.outputs["scores"]))
    own, of_all, is_odd = np.concatenate(own).round(1), np.concatenate(of_all).round(1), np.arange(len(VALUES)) % 7 == 0
    found = rank(own, is_odd[np.concatenate(numbers)], 3.0, comm), quantiles(own, [0.1, 0.5, 0.99], comm)
    expected = rank(of_all, is_odd, 3.0, ALONE), quantiles(of_all, [0.1, 0.5, 0.99], ALONE)
    sums = [sums_over(Blocks(columns, from_arrays("x", VALUES), [SAMPLES], engine, batch_size=16), engine)["columns"]
            for engine in (comm, ALONE)]  # what evaluate divides by the number of samples
    gaussians = [measure_gaussian(blocks(engine), engine) for engine in (comm, ALONE)]
    assert len(np.unique(of_all)) < len(of_all)  # ties
    assert found == expected
    np.testing.assert_array_equal(*sums)
    np.testing.assert_allclose(sums[0], np.tanh(VALUES @ KERNEL).sum(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(gaussians[0].precision, gaussians[1].precision)


def test_each_block_of_a_format_is_decoded_once(comm):
    source = InBlocks(VALUES)
    blocks(comm, source).each(lambda unit: None)
    decoded = comm.all_gather(np.array(source.decoded, np.int64)).numpy()
    assert set(decoded) == set(range(len(STARTS))) and len(decoded) < len(STARTS) + comm.world.size


@pytest.mark.soak
@pytest.mark.ranks(3)
def test_what_variational_runs_are_used_for_has_the_same_bytes(comm, tmp_path_factory, monkeypatch):
    """Decoded codes, drawn samples, and minus the evidence lower bound, which draws too."""
    monkeypatch.setattr(scores, "_DRAWS", 2)  # each is traced
    folder, (encoder, decoder, model) = shared_folder(comm, tmp_path_factory), variational_models()
    settings = TrainSettings(data="x", task="variational", model="dense", code=3).resolved()
    source, codes = with_numbers(from_arrays("x", VALUES)), from_arrays("codes", VALUES[:, :3])
    judged = judged_of(str(folder), settings, task_of(settings), {"model": model, "encoder": encoder, "decoder": decoder},
                       source, comm)
    elbo = Scoring("elbo", Parts(model, encoder, False, source.fields), None, judged)
    cases = {"decoded": (decoded(decoder, codes.fields), codes, "samples", [SAMPLES]),
             "drawn": (drawn(decoder, (3,), 7), _Numbers(len(VALUES)), "samples", [NUMBER]),
             "elbo": (elbo.scores, source, "scores", [SAMPLES, NUMBER])}
    for name, (function, of, result, fields) in cases.items():
        traced = tf.function(function)
        for engine in (comm, ALONE) if comm.world.is_root else (comm,):
            made, output = Blocks(traced, of, fields, engine, batch_size=16), f"{name}-{engine is ALONE}.npy"
            write_outputs(made, result, str(folder / output), str(folder), {}, engine)
    comm.barrier()
    for name in cases:
        assert (folder / f"{name}-False.npy").read_bytes() == (folder / f"{name}-True.npy").read_bytes(), name
    np.testing.assert_allclose(np.load(folder / "decoded-False.npy"), VALUES[:, :3] @ KERNEL.T[:3], rtol=1e-4, atol=1e-5)
    given = np.load(folder / "drawn-False.npy") @ np.linalg.pinv(KERNEL.T[:3])  # the codes that were drawn
    assert abs(given.mean()) < 0.15 and abs(given.std() - 1) < 0.1
    # with a variance near 0 every draw is the mean, and the bound has a formula
    means = VALUES @ KERNEL[:, :3] / 10
    divergence = 0.5 * np.sum(means**2 + np.exp(-30.0) + 30.0 - 1, axis=1)
    unexplained = np.sum((VALUES - means @ KERNEL.T[:3]) ** 2, axis=1)
    expected = divergence + 0.5 * unexplained + 0.5 * VALUES.shape[1] * np.log(2 * np.pi)
    np.testing.assert_allclose(np.load(folder / "elbo-False.npy"), expected, rtol=1e-4)


def variational_models():
    """Of linear layers: codes are the first three products with the kernel, of hardly any variance."""
    samples, code = keras.Input((40,), name="sample"), keras.Input((3,), name="code")
    mean, log_variance = keras.layers.Dense(3, use_bias=False), keras.layers.Dense(3)
    encoder = keras.Model(samples, {MEAN: mean(samples), LOG_VARIANCE: log_variance(samples)})
    decoder = keras.Sequential([code, keras.layers.Dense(40, use_bias=False)])
    mean.set_weights([KERNEL[:, :3] / 10])
    log_variance.set_weights([np.zeros((40, 3)), np.full(3, -30.0)])
    decoder.set_weights([KERNEL.T[:3]])
    return encoder, decoder, keras.Model(samples, decoder(encoder(samples)[MEAN]))
