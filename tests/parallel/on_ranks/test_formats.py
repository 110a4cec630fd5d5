"""Law 9: the same samples in any format, and in several files, give the same run."""

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_digits

from hvd_ae.data.epoch_plan import plan_epoch
from hvd_ae.data.open import open_source
from hvd_ae.data.shuffle_memory import Kept
from hvd_ae.training.input import Input
from hvd_ae.training.samples import load_on_all
from tests.parallel.on_ranks.test_laws import shared_folder
from tests.parallel.on_ranks.training import settings

DIGITS = (load_digits().data / 16).astype(np.float32)  # (1797, 64)


def write_npy(folder):
    np.save(folder / "digits.npy", DIGITS)


def write_npz(folder):
    np.savez_compressed(folder / "digits.npz", x=DIGITS.astype(np.float64))


def write_hdf5(folder):
    with h5py.File(folder / "digits.h5", "w") as file:
        file.create_dataset("group/x", data=DIGITS.astype(">f8"), chunks=(100, 20), compression="gzip", shuffle=True)


def write_netcdf3(folder):
    from scipy.io import netcdf_file

    with netcdf_file(folder / "digits.nc", "w") as file:
        file.createDimension("sample", len(DIGITS))
        file.createDimension("pixel", 64)
        file.createVariable("T", "f4", ("sample", "pixel"))[:] = DIGITS


def write_zarr(folder):
    import tensorstore

    given = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(folder / "digits.zarr")},
             "metadata": {"dtype": "<f4", "shape": DIGITS.shape, "chunks": [128, 64]}}
    tensorstore.open(given, create=True).result()[...] = DIGITS


def write_parquet(folder):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({f"pixel {column:02}": DIGITS[:, column] for column in range(64)})
    parquet.write_table(table, folder / "digits.parquet", row_group_size=300)


def write_csv(folder):
    np.savetxt(folder / "digits.csv", DIGITS, delimiter=",", fmt="%.9g", header=",".join(f"p{i}" for i in range(64)),
               comments="")


def write_tfrecord(folder):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(folder / "digits.tfrecord")) as writer:
        for sample in DIGITS:
            values = tf.train.Feature(float_list=tf.train.FloatList(value=sample))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"x": values})).SerializeToString())


def write_several(folder):
    for number, part in enumerate(np.split(DIGITS, [5, 900, 1400])):
        np.save(folder / f"part_{number}.npy", part)


WRITERS = {"digits.npy": write_npy, "digits.npz": write_npz, "digits.h5:/group/x": write_hdf5, "digits.nc:T": write_netcdf3,
           "digits.zarr": write_zarr, "digits.parquet": write_parquet, "digits.csv": write_csv,
           "digits.tfrecord": write_tfrecord, "part_*.npy": write_several}


@pytest.mark.jobs("mpi-2")
def test_law_9_digits_in_every_format_give_the_same_batches(comm, tmp_path_factory):
    """Of the same samples in the same order, and so the same training."""
    folder = shared_folder(comm, tmp_path_factory)
    folder.mkdir(exist_ok=True)
    read = {}
    for name, write in WRITERS.items():
        if comm.world.is_root:
            write(folder)
        comm.barrier()
        given = settings(data=str(folder / name))
        source = load_on_all(given, comm).train
        assert source.count == 1617
        feed = Input(source, ["samples"], given, comm)
        plan = plan_epoch(feed.partition, comm.world, 64, 0)
        examples, numbers = feed.reader.read(plan, 0, len(plan.batch_sizes))
        feed.close()
        read[name] = examples["samples"], numbers
    samples, numbers = read["digits.npy"]
    assert len(numbers) >= 1617 // comm.world.size and set(map(bytes, samples)) <= set(map(bytes, DIGITS))
    for name, (others, same) in read.items():
        np.testing.assert_array_equal(same, numbers, err_msg=name)
        np.testing.assert_array_equal(others, samples, err_msg=name)


@pytest.mark.jobs("mpi-2")
def test_law_9_in_windows_chunks_of_the_same_size_give_the_same_batches(comm, tmp_path_factory):
    """HDF5 and Zarr, in blocks of as many samples, and more data than memory for them."""
    import tensorstore

    folder = shared_folder(comm, tmp_path_factory)
    folder.mkdir(exist_ok=True)
    wide = np.tile(DIGITS, (2, 64))  # a block of 128 samples is 2 MB, and stays one
    if comm.world.is_root:
        with h5py.File(folder / "wide.h5", "w") as file:
            file.create_dataset("x", data=wide, chunks=(128, wide.shape[1]), compression="lzf")
        given = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(folder / "wide.zarr")},
                 "metadata": {"dtype": "<f4", "shape": wide.shape, "chunks": [128, wide.shape[1]]}}
        tensorstore.open(given, create=True).result()[...] = wide
    comm.barrier()
    read = []
    for name in ("wide.h5", "wide.zarr"):
        source = open_source(str(folder / name))
        assert np.diff(source.block_starts).max() == 128
        feed = Input(source, ["samples"], settings(data=str(folder / name), shuffle_memory="24MB"), comm)
        assert feed.memory.kept is Kept.WINDOWS
        plan = plan_epoch(feed.partition, comm.world, 64, 0)
        read.append([feed.reader.read(plan, step, step + 1) for step in range(len(plan.batch_sizes))])
        feed.close()
    for (of_hdf5, numbers), (of_zarr, same) in zip(*read, strict=True):
        np.testing.assert_array_equal(numbers, same)
        np.testing.assert_array_equal(of_hdf5["samples"], wide[numbers])
        np.testing.assert_array_equal(of_zarr["samples"], wide[numbers])
