"""What the NVIDIA driver says of GPUs, asked without TensorFlow, and what keeps TensorFlow from using them."""

import ctypes
import os
import re
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one slice of a partitioned one (MIG)."""

    name: str
    memory: int  # bytes
    uuid: str  # no two are the same, on any machine


def driver_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to this process, in TensorFlow's order; none where there is no driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [_gpu(cuda, ordinal) for ordinal in range(count.value)]


def _gpu(cuda: ctypes.CDLL, ordinal: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    uuid = (ctypes.c_ubyte * 16)()
    cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDeviceGetUuid_v2(ctypes.byref(uuid), device)
    return Gpu(name.value.decode(errors="replace"), memory.value, bytes(uuid).hex())


def missing_libraries() -> list[str]:
    """The libraries that TensorFlow looks for and does not find, as it says in a process of its own; takes seconds.

    This process keeps such lines to itself: TensorFlow writes them among many that mean nothing.
    """
    asks = "import tensorflow as tf; tf.config.list_physical_devices('GPU')"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_MAX_VLOG_LEVEL": "1"}
    try:
        said = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, timeout=50, check=False,
                              env=environment).stderr
    except (OSError, subprocess.TimeoutExpired):
        return []
    return libraries_named(said)


def libraries_named(log: str) -> list[str]:
    """Those that lines of TensorFlow's log say could not be loaded."""
    lines = [line for line in log.splitlines() if re.search(r"could not load|cannot open|cannot dlopen", line, re.IGNORECASE)]
    return sorted({name for line in lines for name in re.findall(r"\blib\w+\.so(?:\.\d+)*", line)})


def nccl_shares_gpus() -> bool:
    """Whether NCCL has been told to take several ranks on one GPU, as newer versions do for tests."""
    return os.environ.get("NCCL_MULTI_RANK_GPU_ENABLE") == "1"


def sharing(of_ranks: list[str]) -> list[int]:
    """The first ranks that have one and the same GPU, in order; none where each has its own.

    Args:
        of_ranks: the UUID of each rank's GPU, empty where it has none.
    """
    for uuid in of_ranks:
        together = [rank for rank, other in enumerate(of_ranks) if uuid and other == uuid]
        if len(together) > 1:
            return together
    return []
