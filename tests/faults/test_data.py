"""Data that fail while a run goes on: a file system that stops answering, a file that is replaced, a chunk that is damaged."""

import json
import sys

import h5py
import numpy as np

from tests.launch import mpirun, started, status_of, succeeded

TIMEOUT = 12  # seconds; a busy machine traces a graph for five
SAMPLES, CHUNK = 12_000, 50
VALUES = np.random.default_rng(0).uniform(size=(SAMPLES, 300)).astype(np.float32)  # some 800 samples a megabyte, a block

# Windows, so that blocks are read in the middle of the run; the reader does to one rank's block what its first word says.
TRAINS = f"""
import glob, os, sys, threading, time
import hvd_ae
from hvd_ae.data.formats import hdf5_rows
from hvd_ae.data.source import BlockSource

what, path, run = sys.argv[1:4]
original = BlockSource.read_block

def read_block(self, block, fields):
    rank = int(os.environ["PMI_RANK"])
    in_training = threading.current_thread() is not threading.main_thread()  # which reads for the page of the run
    if rank == 1 and glob.glob(run + "/checkpoints/step-????????"):
        if what == "stalls":
            time.sleep(1000)
        elif what == "replaces" and not os.path.exists(path + ".old"):
            with open(path, "rb") as old, open(path + ".new", "wb") as new:
                new.write(old.read())
            os.rename(path, path + ".old")
            os.rename(path + ".new", path)
    elif what == "replaces" and in_training and glob.glob(run + "/checkpoints/step-????????"):
        while not os.path.exists(path + ".old"):  # both ranks are to see it in the same moment
            time.sleep(0.001)
    return original(self, block, fields)

BlockSource.read_block = read_block
hvd_ae.train(hvd_ae.TrainSettings(data=path, model="shallow", epochs=100000, run_dir=run, stall_timeout={TIMEOUT},
                                  collectives="mpi", shuffle_memory="6MB", batch_size=100))
"""


def start(tmp_path, what: str):
    script = tmp_path / "trains.py"
    script.write_text(TRAINS)
    write(tmp_path / "x.h5")
    return started(2, sys.executable, str(script), what, str(tmp_path / "x.h5"), str(tmp_path / "run"), log=tmp_path / "log")


def write(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=VALUES, chunks=(CHUNK, VALUES.shape[1]), compression="gzip")


def test_a_file_system_that_stops_answering_is_named_with_the_samples(tmp_path):
    with start(tmp_path, "stalls") as job:
        assert status_of(job, tmp_path / "log", 120) not in (0, 2, 3, 75)
    said = (tmp_path / "log").read_text()
    assert said.count("hvd-ae:") == 1, said
    assert "rank 1 of 2 was reading samples" in said and f"of '{tmp_path / 'x.h5'}'" in said, said


def test_a_file_that_is_replaced_ends_the_run_with_the_last_checkpoint_good(tmp_path):
    with start(tmp_path, "replaces") as job:
        assert status_of(job, tmp_path / "log", 120) == 2
    said = (tmp_path / "log").read_text()
    assert said.count("hvd-ae:") == 1 and "Traceback" not in said, said
    assert f"{tmp_path / 'x.h5'} has changed since this run opened it" in said
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_a_damaged_chunk_is_named_and_mended_the_run_ends_as_if_nothing_had_happened(tmp_path):
    """A chunk of the middle of the first epoch's order is overwritten; the run goes on from the checkpoint before it."""
    write(tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5") as file:
        chunk = file["x"].id.get_chunk_info(31)
    content = bytearray((tmp_path / "whole.h5").read_bytes())
    content[chunk.byte_offset + 10 : chunk.byte_offset + 40] = bytes(30)
    (tmp_path / "x.h5").write_bytes(content)

    def trained(run: str, *more: str):
        return mpirun(2, sys.executable, "-m", "hvd_ae", "train", "--data", str(tmp_path / "x.h5"), "--model", "shallow",
                      "--batch-size", "100", "--epochs", "2", "--collectives", "mpi", "--shuffle-memory", "6MB",
                      "--validation-split", "0.02", "--run-dir", str(tmp_path / run), *more)

    ended = trained("run")
    assert ended.returncode == 2, ended.stderr
    [sentence] = [line for line in ended.stderr.splitlines() if line.startswith("hvd-ae:")]
    assert f"'{tmp_path / 'x.h5'}' cannot be read in samples" in sentence and "copy or write the file anew" in sentence
    assert "Traceback" not in ended.stderr
    (tmp_path / "x.h5").write_bytes((tmp_path / "whole.h5").read_bytes())
    succeeded(trained("run", "--resume"))
    succeeded(trained("again"))
    first, second = (json.loads((tmp_path / run / "summary.json").read_text()) for run in ("run", "again"))
    assert first["weights_checksum"] == second["weights_checksum"]
