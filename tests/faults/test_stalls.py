"""A rank that stops answering ends the job in time, by name, with every rank's Python stack."""

import signal
import sys
import time

import pytest

from tests.launch import HVD_AE, ranks_of, started, status_of, wait_until

TIMEOUT = 12  # seconds; a busy machine traces a graph for five
ENDLESS = ["train", "--data", "synthetic:4000x64", "--model", "shallow", "--epochs", "1000000", "--checkpoint-every", "0",
           "--stall-timeout", str(TIMEOUT)]
LOOPS = f'''
import sys
import hvd_ae
from hvd_ae.training.loop import Loop

original = Loop._epoch

def loops_on_rank_1(self, clock):
    while self._session.cursor.epoch == 2 and self._session.comm.world.rank == 1:
        pass
    yield from original(self, clock)

Loop._epoch = loops_on_rank_1
hvd_ae.train(hvd_ae.TrainSettings(data="synthetic:4000x64", model="shallow", epochs=1000000, run_dir=sys.argv[1],
                                  stall_timeout={TIMEOUT}, collectives=sys.argv[2]))
'''


@pytest.mark.parametrize(("collectives", "averaging", "size"), [("mpi", "server", 3), ("horovod", "parameter", 2)])
def test_a_stopped_rank(tmp_path, collectives, averaging, size):
    """SIGSTOP, as a node that swaps or hangs does it."""
    command = [HVD_AE, *ENDLESS, "--run-dir", str(tmp_path / "run"), "--collectives", collectives, "--averaging", averaging]
    with started(size, *command, log=tmp_path / "log") as job:
        wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists(), 90)
        ranks_of(job)[1].send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        assert status_of(job, tmp_path / "log", 10 * TIMEOUT) not in (0, 2, 3, 75)
        assert time.monotonic() - stopped < 2 * TIMEOUT  # one for a machine with more ranks than cores
    said = (tmp_path / "log").read_text()
    assert said.count("hvd-ae:") == 1 and f"rank 1 of {size} gave no answer" in said
    written = sorted(path.name for path in (tmp_path / "run" / "stalled").iterdir())
    assert written == ["rank-00000.txt", "rank-00002.txt"][: size - 1]


def test_an_endless_loop_is_shown_by_its_stack(tmp_path):
    script = tmp_path / "loops.py"
    script.write_text(LOOPS)
    with started(2, sys.executable, str(script), str(tmp_path / "run"), "horovod", log=tmp_path / "log") as job:
        assert status_of(job, tmp_path / "log", 120) not in (0, 2, 3, 75)
    said = (tmp_path / "log").read_text()
    assert said.count("hvd-ae:") == 1 and "rank 1 of 2 did something else" in said
    assert "in loops_on_rank_1" in (tmp_path / "run" / "stalled" / "rank-00001.txt").read_text()
