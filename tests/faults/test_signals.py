"""SIGTERM, SIGUSR1 or SIGUSR2 on one rank, at every phase: all stop together, and go on as if nothing had happened."""

import subprocess
import sys

import pytest

from tests.launch import BIN, HVD_AE, mpirun, ranks_of, status_of, succeeded, wait_until

# In one job: a run without signals, and one that is stopped in each phase in turn and goes on until the next.
PHASES = '''
import os, signal, sys
import numpy as np
import hvd_ae
from hvd_ae import api
from hvd_ae.collectives.mpi import MPICommunicator
from hvd_ae.collectives.start import start
from hvd_ae.errors import Stopped
from hvd_ae.training import session
from hvd_ae.training.checkpointing import save as checkpoint
from hvd_ae.training.evaluation import Evaluator

comm = start("mpi", threads=1)
rank = comm.world.rank

def signalled(owner, name, call, number, on=1):
    """Send the signal to one rank in the middle of the given call of a function, once."""
    original, calls = getattr(owner, name), []
    def with_signal(*arguments, **named):
        calls.append(1)
        if rank == on and len(calls) == call:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # repeated signals are one request
        return original(*arguments, **named)
    setattr(owner, name, with_signal)
    return lambda: setattr(owner, name, original)

PHASES = {
    "before the first step": (session, "Session", 1, signal.SIGTERM),
    "in an average": (MPICommunicator, "_ordered_sum", 40, signal.SIGUSR1),
    "in evaluation": (Evaluator, "means", 1, signal.SIGTERM),
    "in a checkpoint": (checkpoint, "write_vectors", 1, signal.SIGUSR2),
}

def train(name, resume=False):
    return hvd_ae.train(hvd_ae.TrainSettings(
        data="synthetic:2000x64", model="shallow", batch_size=8, epochs=6, averaging="parameter", sync_every=7,
        collectives="mpi", run_dir=f"{sys.argv[1]}/{name}", resume=resume), comm).summary

draws = api.draw_pictures, api.save_look  # they take longer than all else
api.draw_pictures = api.save_look = lambda *_: None
whole = train("whole")
for phase, (owner, name, call, number) in PHASES.items():
    restore = signalled(owner, name, call, number)
    try:
        train("stopped", resume=True)
        raise AssertionError(f"{phase}: not stopped")
    except Stopped as stopped:
        if rank == 0:
            print(f"PHASE {phase}: stopped at step {str(stopped).split()[3]} of {whole['steps']} by "
                  f"{signal.Signals(number).name}")
    restore()

# Pictures and summary take seconds; to stop then would lose them for nothing.
api.draw_pictures, api.save_look = draws
signalled(api, "draw_pictures", 1, signal.SIGTERM, on=0)
late = train("stopped", resume=True)
if rank == 0:
    same = all(late[key] == whole[key] for key in ("weights_checksum", "samples", "steps", "val_mse"))
    print(f"LATE: finished {late['epochs']} epochs, same: {same}")
'''


def test_every_phase(tmp_path):
    script = tmp_path / "phases.py"
    script.write_text(PHASES)
    said = succeeded(mpirun(2, sys.executable, str(script), str(tmp_path), timeout=200))
    lines = [line for line in said.splitlines() if line.startswith("PHASE ")]
    stopped_at = [int(line.split("at step ")[1].split()[0]) for line in lines]
    assert len(lines) == 4 and stopped_at[0] == 0 and stopped_at == sorted(set(stopped_at)), lines
    assert "LATE: finished 6 epochs, same: True" in said


@pytest.mark.parametrize(("launcher", "to", "name"), [
    ("mpirun", "rank", "TERM"), ("horovodrun", "rank", "USR2"),
    pytest.param("mpirun", "launcher", "USR1", marks=pytest.mark.soak)])
def test_the_job_ends_with_75_and_one_sentence(tmp_path, launcher, to, name):
    command = [HVD_AE, "train", "--data", "synthetic:4000x64", "--model", "shallow", "--epochs", "100000", "--run-dir",
               str(tmp_path / "run")]
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen([str(BIN / launcher), "-np", "2", *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists(), 90)
        (ranks_of(job)[1] if to == "rank" else job).send_signal(getattr(__import__("signal"), f"SIG{name}"))
        status = status_of(job, tmp_path / "log", 60)
    finally:
        job.kill()
    said = (tmp_path / "log").read_text()
    assert said.count("hvd-ae: stopped at step ") == 1 and "Traceback" not in said, said
    assert status == 75 or (launcher == "horovodrun" and status != 0), said  # horovodrun has one status for all faults
    assert list((tmp_path / "run" / "checkpoints").glob("step-????????"))
    assert not (tmp_path / "run" / "summary.json").exists()
