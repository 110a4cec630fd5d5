"""One GPU per rank by local rank, and a fair share of the node's cores: set before TensorFlow touches a device."""

import os
from collections import Counter

import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.runtime.gpus import driver_gpus
from hvd_ae.runtime.world import World

_DETERMINISTIC = "TF_DETERMINISTIC_OPS"  # TensorFlow's own name, read before its first operation
_at_a_time = 1


def configure_devices(world: World, cores_of_local_ranks: list[set[int]], threads: int | None,
                      side_by_side: bool = False) -> None:
    """Pin this rank to its GPU where there are GPUs, and set TensorFlow's threads.

    Args:
        cores_of_local_ranks: the cores each rank of this node may use, in the order of local ranks.
        threads: threads for this rank, or None for its fair share of the cores.
        side_by_side: whether each operation takes one of them, so that no result depends on how many there are: a product
            with a single row is added up in as many parts as there are threads.

    Raises:
        Refused: there are GPUs, but fewer than ranks on this node.
    """
    # float32 is to mean float32: TensorFlow would round what it multiplies on newer GPUs to 10 bits (`--precision tf32`)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    threads = threads or fair_share(cores_of_local_ranks[world.local_rank], cores_of_local_ranks)
    gpu = gpu_for(world.local_rank, visible_gpus())
    if gpu is not None:
        # reruns and resumed runs are to agree bit for bit, and some kernels for GPUs add up in an order of chance; with
        # them an H200 trained `deep` on 75,200 samples/s instead of 86,200 at batches of 256 (docs/gpu.md)
        os.environ.setdefault(_DETERMINISTIC, "1")
    try:
        if gpu is not None:
            device = tf.config.list_physical_devices("GPU")[gpu]
            tf.config.set_visible_devices(device, "GPU")
            tf.config.experimental.set_memory_growth(device, True)
        tf.config.threading.set_intra_op_parallelism_threads(1 if side_by_side else threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads if side_by_side else min(2, threads))
        global _at_a_time
        _at_a_time = threads if side_by_side and gpu is None else 1
    except RuntimeError:
        pass  # TensorFlow is running already, in a notebook or a test: its devices stay as they are


def calls_at_a_time() -> int:
    """How many calls of a function have cores of their own in this rank, if each operation takes one of them."""
    return _at_a_time


def gpu_for(local_rank: int, gpus: int) -> int | None:
    """The GPU of a rank among those visible to it: its own where the launcher shows one each, else by local rank."""
    if gpus == 0:
        return None
    if gpus == 1:
        return 0  # Slurm's --gpus-per-task shows each rank its own GPU as number 0
    if local_rank >= gpus:
        raise Refused(f"local rank {local_rank} has no GPU of its own, {gpus} are visible: start {gpus} ranks per node")
    return local_rank


def reruns_agree() -> bool:
    """Whether TensorFlow takes only kernels that give the same bits each time; without a GPU ours do so in any case."""
    return os.environ.get(_DETERMINISTIC, "0").lower() in ("1", "true")


def visible_gpus() -> int:
    """How many GPUs TensorFlow sees in this process, whether or not it takes them."""
    return len(tf.config.list_physical_devices("GPU"))


def gpu_peak_bytes() -> int:
    """The most memory of its GPU that this process's tensors have taken so far; 0 without a GPU."""
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"]) if tf.config.list_logical_devices("GPU") else 0


def uuid_of_own_gpu(local_rank: int) -> str:
    """Of the GPU that is this rank's; empty where it has none, or the driver does not say."""
    known, own = driver_gpus(), gpu_for(local_rank, visible_gpus())
    return known[own].uuid if own is not None and own < len(known) else ""


def fair_share(own_cores: set[int], cores_of_local_ranks: list[set[int]]) -> int:
    """Threads for a rank: each of its cores counts 1 divided by the ranks of the node that may use it.

    This gives the right answer both where the launcher binds each rank to cores of its own and where all may use all.
    """
    users = Counter(core for cores in cores_of_local_ranks for core in cores)
    return max(1, int(sum(1 / users[core] for core in own_cores) + 1e-9))

