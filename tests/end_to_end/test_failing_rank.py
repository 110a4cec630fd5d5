"""One failed rank ends the whole job, promptly, with the right words and exit status."""

import sys
import time

import psutil
import pytest

from tests.launch import HVD_AE, mpirun, ranks_of, started, status_of, wait_until

# A model that trains for hours, unless something goes wrong.
ENDLESS = ["train", "--data", "synthetic:4000x64", "--model", "shallow", "--epochs", "1000000", "--checkpoint-every", "0"]

RAISES = '''
import sys
import hvd_ae

class FailsOnRank1(hvd_ae.Callback):
    def on_steps(self, session):
        if session.cursor.epoch == 2 and session.comm.world.rank == 1:
            raise RuntimeError("the disk of rank 1 is on fire")

hvd_ae.train(hvd_ae.TrainSettings(data="synthetic:4000x64", model="shallow", epochs=1000000, run_dir=sys.argv[1],
                                  collectives=sys.argv[2]), callbacks=[FailsOnRank1()])
'''


@pytest.mark.parametrize(("collectives", "ranks"), [("horovod", 2), pytest.param("mpi", 2, marks=pytest.mark.soak)])
def test_an_exception_on_one_rank_ends_all_with_its_traceback(tmp_path, collectives, ranks):
    script = tmp_path / "fails.py"
    script.write_text(RAISES)
    started = time.monotonic()
    ended = mpirun(ranks, sys.executable, str(script), str(tmp_path / "run"), collectives, timeout=90)
    assert ended.returncode == 1
    assert f"rank 1 of {ranks} failed" in ended.stderr
    assert "RuntimeError: the disk of rank 1 is on fire" in ended.stderr
    assert ended.stderr.count("Traceback") == 1
    assert time.monotonic() - started < 60, "the job should end within 30 s of the failure, start-up apart"


DRIFTS = """
import sys
import hvd_ae
import tensorflow as tf
from hvd_ae.averaging.gradient import Gradient

original = Gradient.step

def one_bit_off_on_rank_1(self, batch):
    loss_sum = original(self, batch)
    if self.comm.world.rank == 1:
        self.learner.vector.assign(tf.tensor_scatter_nd_add(self.learner.vector, [[7]], [1e-6]))
    return loss_sum

Gradient.step = one_bit_off_on_rank_1
hvd_ae.train(hvd_ae.TrainSettings(data="synthetic:4000x64", model="shallow", epochs=2, run_dir=sys.argv[1]))
"""


def test_ranks_out_of_sync_end_the_job_with_status_3(tmp_path):
    script = tmp_path / "drifts.py"
    script.write_text(DRIFTS)
    ended = mpirun(3, sys.executable, str(script), str(tmp_path / "run"), timeout=90)
    assert ended.returncode == 3, ended.stderr
    assert "rank 1 of 3 holds other parameters than most" in ended.stderr
    assert ended.stderr.count("hvd-ae:") == 1 and "Traceback" not in ended.stderr
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.parametrize(("collectives", "size"), [("horovod", 2), ("mpi", 2)])
def test_a_killed_rank_ends_all_within_30_seconds(tmp_path, collectives, size):
    run_dir = tmp_path / "run"
    command = [HVD_AE, *ENDLESS, "--run-dir", str(run_dir), "--collectives", collectives]
    with started(size, *command, log=tmp_path / "log") as job:
        wait_until(lambda: (run_dir / "metrics.jsonl").exists(), 90)  # training is under way
        ranks = ranks_of(job)
        assert len(ranks) == size
        killed = time.monotonic()
        ranks[1].kill()
        status = status_of(job, tmp_path / "log", 60)
        assert time.monotonic() - killed < 30
        assert status != 0
        wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in ranks), 10)


LACKS = """
import sys
import hvd_ae
import tensorflow as tf
from mpi4py import MPI

if sys.argv[2] == "gpu":  # two in a node of three ranks
    tf.config.list_physical_devices = lambda kind: ["/GPU:0", "/GPU:1"]
    tf.config.set_visible_devices = tf.config.experimental.set_memory_growth = lambda *_: None
elif MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
    sys.modules["horovod.tensorflow"] = None
hvd_ae.train(hvd_ae.TrainSettings(model="shallow", epochs=1, run_dir=sys.argv[1]))
"""


@pytest.mark.parametrize(("missing", "ranks", "said"), [
    ("gpu", 3, "local rank 2 has no GPU of its own, 2 are visible: start 2 ranks per node"),
    ("horovod", 2, "collectives='horovod' needs horovod, which does not load"),
])
def test_what_one_rank_lacks_refuses_all(tmp_path, missing, ranks, said):
    """Found between the start of MPI and that of the engine, when others wait already."""
    script = tmp_path / "lacks.py"
    script.write_text(LACKS)
    ended = mpirun(ranks, sys.executable, str(script), str(tmp_path / "run"), missing, timeout=90)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("hvd-ae:") == 1 and "Traceback" not in ended.stderr, ended.stderr
    assert f"hvd-ae: rank {ranks - 1} on " in ended.stderr and said in ended.stderr
