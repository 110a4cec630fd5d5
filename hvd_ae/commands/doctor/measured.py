"""What only shows when the ranks do it together: sums that are right and fast, one file system, clocks."""

import contextlib
import os
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.doctor.findings import Finding, fault, of_the_worst_rank, ok, warning
from hvd_ae.runtime.consensus import broadcast_text
from hvd_ae.runtime.devices import visible_gpus
from hvd_ae.runtime.mpi_info import texts_of_ranks

_PRODUCT = 512  # rows and columns of the matrices that a GPU is tried with
_SIZES = {"4 KB": 1024, "4.6 MB (model `deep`)": 1_153_712}  # float32 numbers
_ROUNDS = 15
_SLOW, _SLOW_ON_GPUS = 2e-3, 10e-3  # seconds, beside the time of the bytes; to a GPU and back takes 3 ms
_APPEARS_WITHIN = 3.0  # seconds; NFS keeps what it knows of a folder for three and more


def check_gpu(comm: Communicator) -> Finding:
    """Whether each rank's GPU does what training needs: products of matrices, and code that XLA compiles there and then."""
    started = time.perf_counter()
    try:
        problem = _wrong_on_gpu()
    except Exception as error:  # TensorFlow's are of many kinds, and each says what it lacks
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    took = comm.maximum_int(round(1e3 * (time.perf_counter() - started)))
    # not through the engine: it may itself need the GPU that has failed
    of_ranks = texts_of_ranks(problem) if comm.world.size > 1 else [problem]
    remedy = ("CUDA's libraries, ptxas and libdevice come with `pip install 'hvd_ae[gpu]'`; nvidia-smi shows who else is on "
              "the GPU")
    return of_the_worst_rank([fault("GPU", problem, remedy) if problem else
                              ok("GPU", f"multiplies right, and XLA compiles for it; {took / 1e3:.1f} s, the first time")
                              for problem in of_ranks])


def _wrong_on_gpu() -> str:
    """What came out wrong, or an empty string."""
    own = np.random.default_rng(0).random((_PRODUCT, _PRODUCT), np.float32)
    expected = own.astype(np.float64) @ own
    with tf.device("/GPU:0"):
        matrix = tf.constant(own)
        compiled = tf.function(lambda x: tf.sqrt(x) + 2.0 * tf.exp(-x), jit_compile=True)
        product, fused = tf.matmul(matrix, matrix).numpy(), compiled(matrix).numpy()
    if np.max(np.abs(product / expected - 1)) > _PRODUCT * np.finfo(np.float32).eps:
        return f"a product of matrices is wrong by {np.max(np.abs(product / expected - 1)):.1e} of it"
    return "" if np.allclose(fused, np.sqrt(own) + 2.0 * np.exp(-own), rtol=1e-5) else "what XLA compiled gives wrong numbers"


def check_all_reduce(comm: Communicator, ranks_share_cores: bool) -> list[Finding]:
    """Sums whose value a formula gives, each timed on the slowest rank."""
    world, findings = comm.world, []
    for name, count in _SIZES.items():
        own = np.full(count, world.rank + 1, np.float32)
        times, right = [], True
        for _ in range(_ROUNDS):
            comm.barrier()
            started = time.perf_counter()
            total = comm.sum(own).numpy()
            times.append(time.perf_counter() - started)
            right &= bool(np.all(total == world.size * (world.size + 1) / 2))
        slowest = statistics.median(comm.maximum(np.array(times[3:])).numpy())
        wrong = comm.maximum_int(0 if right else 1)
        check, rate = "all-reduce", own.nbytes / slowest / 1e9
        speed = f"{rate:.1f} GB/s" if rate >= 1 else f"{rate * 1e3:.0f} MB/s"
        seen = f"{name} in {slowest * 1e3:.2f} ms, {speed}, through {comm.name}"
        if wrong:
            findings.append(fault(check, f"{name} came out wrong", "do not train here; try --collectives mpi"))
        elif world.nodes == 1 and slowest > (_SLOW_ON_GPUS if visible_gpus() else _SLOW) + 20 * _copy_seconds(own):
            cause = "more ranks than cores" if ranks_share_cores else "the machine is busy, or MPI does not use shared memory"
            findings.append(warning(check, seen, f"slow for one node; {cause}"))
        elif world.nodes > 1 and count > 1e6 and rate < 0.05:
            findings.append(warning(check, seen, "slower than 1 Gbit/s; choose the fast network (jobs/site.sh), or average "
                                    "less often (--averaging parameter)"))
        else:
            findings.append(ok(check, seen))
    return findings


def _copy_seconds(vector: np.ndarray) -> float:
    other, started = np.empty_like(vector), time.perf_counter()
    for _ in range(5):
        np.copyto(other, vector)
    return (time.perf_counter() - started) / 5


def check_clocks(comm: Communicator) -> Finding:
    comm.barrier()
    clocks = comm.all_gather(np.array([time.time()])).numpy()
    spread = float(clocks.max() - clocks.min())
    if spread > 1.0:
        return warning("clocks", f"up to {spread:.1f} s apart", "times in logs will not agree; let the nodes keep time")
    return ok("clocks", f"within {max(spread, 0.001) * 1e3:.0f} ms")


def check_run_dir(comm: Communicator, run_dir: str) -> list[Finding]:
    """Whether the root can write, rename and read there, with how much space, and which ranks see what it writes."""
    world, folder, problem, free, made = comm.world, Path(run_dir), "", 0, []
    written = folder / f".doctor-{os.getpid()}"
    if world.is_root:
        try:
            made = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            written.with_suffix(".partial").write_text("seen")
            os.replace(written.with_suffix(".partial"), written)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            problem = error.strerror or str(error)
    written = folder / broadcast_text(comm, written.name)
    problem = broadcast_text(comm, problem)
    sees = comm.all_gather(np.array([bool(problem) or _appears(written)], np.int64)).numpy()
    if world.is_root:
        _clean_up([written, written.with_suffix(".partial")], made)
    if problem:
        return [fault("run folder", f"{run_dir} cannot be written ({problem})", "name another with --run-dir")]
    findings = [ok("run folder", f"{run_dir} can be written, {free / 1e9:,.1f} GB free")]
    if world.is_root and free < 1e9:
        findings = [warning("run folder", f"{run_dir} has {free / 1e6:,.0f} MB left", "make room, or name another --run-dir")]
    blind = [str(rank) for rank in np.flatnonzero(sees == 0)]
    if blind:
        findings.append(warning("run folder", f"rank{'s' * (len(blind) > 1)} {', '.join(blind[:8])} of {world.size} "
                                f"{'do' if len(blind) > 1 else 'does'} not see what rank 0 writes into {run_dir}",
                                "where ranks have state of their own, each writes into checkpoints; use a shared file system"))
    return findings


def _appears(path: Path) -> bool:
    """A shared file system may show a new file only after a moment."""
    deadline = time.monotonic() + _APPEARS_WITHIN
    while True:
        try:
            if path.exists():
                return True
        except OSError:  # a folder that this rank may not enter
            return False
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _clean_up(files: list[Path], folders: list[Path]) -> None:
    """Remove what was made, but no folder into which somebody else has written meanwhile."""
    with contextlib.suppress(OSError):
        for file in files:
            file.unlink(missing_ok=True)
        for folder in folders:
            folder.rmdir()
