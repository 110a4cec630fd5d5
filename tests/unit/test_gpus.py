"""What can be said of GPUs without one: what the driver's answers mean, who shares, and what a run is told at its start."""

import os

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.collectives import start
from hvd_ae.collectives.communicator import _now
from hvd_ae.errors import Refused
from hvd_ae.models.build import build_model
from hvd_ae.runtime.devices import configure_devices
from hvd_ae.runtime.gpus import Gpu, driver_gpus, libraries_named, sharing
from hvd_ae.runtime.mpi_info import nccl_name
from hvd_ae.runtime.world import World

LOG = """I0000 dso_loader.cc:70] Could not load dynamic library 'libcudnn.so.9'; dlerror: libcudnn.so.9: cannot open shared
W0000 gpu_device.cc:2342] Cannot dlopen some GPU libraries. Please make sure the missing libraries are installed properly
I0000 dso_loader.cc:60] Successfully opened dynamic library libcudart.so.12
"""


def test_without_a_driver_there_are_no_gpus(monkeypatch):
    def no_driver(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", no_driver)
    assert driver_gpus() == []


def test_the_log_names_what_is_missing():
    assert libraries_named(LOG) == ["libcudnn.so.9"]
    assert libraries_named("") == []


@pytest.mark.parametrize(("of_ranks", "together"), [
    (["a", "b"], []), (["a", "b", "a"], [0, 2]), (["", ""], []), (["a", "b", "b", "b"], [1, 2, 3]),
])
def test_ranks_that_share_a_gpu(of_ranks, together):
    assert sharing(of_ranks) == together


def test_nccl_takes_one_rank_a_gpu(monkeypatch):
    monkeypatch.setattr(start, "_sums_on_gpus", lambda: True)
    with pytest.raises(Refused, match="ranks 0, 1 have one and the same GPU.*--collectives mpi"):
        start._refuse_shared_gpus(["a", "a"])
    start._refuse_shared_gpus(["a", "b"])
    monkeypatch.setattr(start, "_sums_on_gpus", lambda: False)
    start._refuse_shared_gpus(["a", "a"])  # Horovod through MPI moves what is on the host


def test_newer_nccl_takes_several_where_it_is_told(monkeypatch):
    monkeypatch.setattr(start, "_sums_on_gpus", lambda: True)
    monkeypatch.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
    start._refuse_shared_gpus(["a", "a"])


def on_a_machine_with(monkeypatch, gpus: int, of_driver: int, nccl: bool):
    monkeypatch.setattr(start, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(start, "driver_gpus", lambda: [Gpu("NVIDIA H200", 140 << 30, str(n)) for n in range(of_driver)])
    monkeypatch.setattr(start, "_sums_on_gpus", lambda: nccl)


@pytest.mark.parametrize(("gpus", "of_driver", "engine", "ranks", "says"), [
    (0, 0, "mpi", 2, []),
    (1, 1, "mpi", 1, []),
    (1, 1, "single", 1, []),
    (2, 2, "horovod", 2, []),
    (2, 2, "mpi", 2, ["through the host's memory"]),
    (0, 2, "horovod", 2, ["the driver shows 2 GPUs and TensorFlow uses none: `hvd-ae doctor`"]),
])
def test_what_a_run_is_told(monkeypatch, gpus, of_driver, engine, ranks, says):
    on_a_machine_with(monkeypatch, gpus, of_driver, nccl=True)
    told = start.about_gpus(engine, ranks)
    assert len(told) == len(says) and all(part in line for line, part in zip(told, says))


def test_horovod_without_nccl_moves_vectors_through_the_host(monkeypatch):
    on_a_machine_with(monkeypatch, 1, 1, nccl=False)
    assert "install-horovod --gpu" in start.about_gpus("horovod", 2)[0]


def test_the_version_of_nccl():
    assert nccl_name(22803) == "NCCL 2.28.3" and nccl_name(0).startswith("NCCL")


def test_float32_is_not_rounded_unless_told():
    """TensorFlow's own default is to round, on GPUs that can."""
    is_enabled = tf.config.experimental.tensor_float_32_execution_enabled
    build_model("shallow", (64,), "sigmoid", seed=0, precision="tf32")
    assert is_enabled()
    build_model("shallow", (64,), "sigmoid", seed=0)
    assert not is_enabled()


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_clock_is_the_same_where_tensorflow_would_refuse_its_own(monkeypatch, value):
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", value)
    first = _now()
    in_a_graph = tf.function(_now)
    assert first.dtype == tf.float64 and 0 <= float(in_a_graph() - first) < 60
    assert len(set(np.array([in_a_graph() for _ in range(3)]).tolist())) == 3, "read anew at each call"


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_reruns_agree_on_gpus_unless_told_otherwise(monkeypatch, before, after):
    """Of the GPU there is only the number here: that it takes this to make reruns agree was seen on one (docs/gpu.md)."""
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", before or "")  # what is set below is taken away again
    if before is None:
        monkeypatch.delenv("TF_DETERMINISTIC_OPS")
    taken = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["/GPU:0", "/GPU:1"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, kind: taken.append(device))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda device, on: taken.append(on))
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", lambda threads: None)
    monkeypatch.setattr(tf.config.threading, "set_inter_op_parallelism_threads", lambda threads: None)
    configure_devices(World(rank=1, size=2, local_rank=1), [{0}, {1}], threads=1)
    assert taken == ["/GPU:1", True]
    assert os.environ["TF_DETERMINISTIC_OPS"] == after
