"""How a process ends: readers that leave, launchers that lie, imports that crash, and what a user's script has open."""

import sys

import pytest

from tests.launch import ENVIRONMENT, HVD_AE, mpirun, run

SHORT = ["train", "--data", "synthetic:500x16", "--model", "shallow", "--epochs", "8"]


@pytest.mark.parametrize("redirection", [pytest.param("", marks=pytest.mark.soak), "2>&1"])
def test_a_reader_that_leaves_ends_output_and_not_the_run(tmp_path, redirection):
    """With another backend of Keras in the environment, which does not matter."""
    command = f"{{ {HVD_AE} {' '.join(SHORT)} --run-dir run {redirection}; echo $? >status; }} | head -1"
    ended = run(["bash", "-c", command], cwd=tmp_path, timeout=120, KERAS_BACKEND="jax")
    assert (tmp_path / "status").read_text() == "0\n", ended.stderr
    assert "Traceback" not in ended.stderr and "Broken pipe" not in ended.stderr
    assert (tmp_path / "run" / "summary.json").exists()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 8


def test_help_into_a_reader_that_leaves(tmp_path):
    command = f"{{ {HVD_AE} train --help; echo $? >status; }} | head -1"
    ended = run(["bash", "-c", command], cwd=tmp_path, timeout=120)
    assert (tmp_path / "status").read_text() == "0\n" and not ended.stderr, ended.stderr


def test_a_launcher_that_gives_no_number_is_refused(tmp_path):
    ended = run([HVD_AE, "train"], cwd=tmp_path, timeout=60, PMI_SIZE="abc")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "hvd-ae: PMI_SIZE='abc' is not a whole number: unset it, or start the ranks anew\n"


@pytest.mark.parametrize("end", ["os.abort()", "os.kill(os.getpid(), signal.SIGILL)", "os.kill(os.getpid(), signal.SIGSEGV)",
                                 "raise ImportError('no')", "os._exit(7)"])
def test_a_crash_inside_the_import_of_tensorflow_says_what_it_said(tmp_path, end):
    """Such as TensorFlow's words before it aborts on a CPU that it was not built for."""
    (tmp_path / "tensorflow.py").write_text(f"import os, signal\nos.write(2, b'compiled to use AVX512\\n')\n{end}\n")
    script = "from hvd_ae.runtime.tensorflow_setup import import_tensorflow\nimport_tensorflow()"
    path = f"{tmp_path}:{ENVIRONMENT.get('PYTHONPATH', '')}"
    ended = run([sys.executable, "-c", script], cwd=tmp_path, timeout=60, PYTHONPATH=path)
    assert ended.returncode != 0 and "compiled to use AVX512\n" in ended.stderr


def test_an_import_that_succeeds_is_quiet(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'noise\\n' * 100000)\nclass get_logger:\n    setLevel = print\n")
    script = ("from hvd_ae.runtime.tensorflow_setup import import_tensorflow\nimport_tensorflow()\nimport os\n"
              "os.write(2, b'later')")
    path = f"{tmp_path}:{ENVIRONMENT.get('PYTHONPATH', '')}"
    ended = run([sys.executable, "-c", script], cwd=tmp_path, timeout=60, PYTHONPATH=path)
    assert (ended.returncode, ended.stderr) == (0, "later")


SCRIPT = """
import atexit
import sys
import threading
import time
import hvd_ae
from hvd_ae.errors import Stopped

comm = hvd_ae.start(sys.argv[1], threads=1)
rank = comm.world.rank
notes = open(f"notes-{rank}", "w")
notes.write("kept")
atexit.register(lambda: open(f"handled-{rank}", "w").close())
if sys.argv[2] == "alone" and rank == 0:
    comm.sum([1.0])
if sys.argv[2] == "alone":
    atexit.register(time.sleep, 1000)
    atexit.register(lambda: open(f"handled-first-{rank}", "w").close())
    raise RuntimeError("of one rank")
if rank:  # long after the other has ended
    atexit.register(time.sleep, 1)
raise Stopped("of all ranks")
"""


@pytest.mark.parametrize(("collectives", "how", "status"), [
    ("horovod", "agreed", 75), pytest.param("mpi", "agreed", 75, marks=pytest.mark.soak), ("horovod", "alone", 1)])
def test_what_a_script_has_open_is_written_when_it_fails(tmp_path, collectives, how, status):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = mpirun(2, sys.executable, str(script), collectives, how, cwd=tmp_path, timeout=120)
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.count("hvd-ae:") == 1 and "Error in" not in ended.stderr, ended.stderr
    assert (tmp_path / "notes-1").read_text() == "kept"
    assert (tmp_path / ("handled-1" if how == "agreed" else "handled-first-1")).exists()
    if how == "agreed":
        assert (tmp_path / "notes-0").read_text() == "kept" and (tmp_path / "handled-0").exists()


RESUMED = """
import os
import signal
import sys
import hvd_ae
from hvd_ae.training.loop import Loop

stop_at = int(sys.argv[1])
original = Loop.run

def stops(self):
    if self._session.cursor.step >= stop_at:
        os.kill(os.getpid(), signal.SIGTERM)
    for progress in original(self):
        yield progress
        if self._session.cursor.step >= stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

Loop.run = stops
hvd_ae.train(hvd_ae.TrainSettings(data="synthetic:4000x64", model="shallow", batch_size=8, epochs=3, averaging="overlapped",
                                  sync_every=4, collectives="mpi", run_dir="run", resume=sys.argv[2] == "resume"))
"""


@pytest.mark.soak
def test_overlapped_goes_on_in_mid_epoch_and_is_stopped_before_its_first_step(tmp_path):
    """The sum that was under way begins anew, and has to end before MPI does."""
    script = tmp_path / "script.py"
    script.write_text(RESUMED)
    for how in ("anew", "resume"):
        ended = mpirun(2, sys.executable, str(script), "1", how, cwd=tmp_path, timeout=120)
        assert ended.returncode == 75, ended.stderr
        assert "finaliz" not in ended.stderr.lower() and ended.stderr.count("hvd-ae:") == 1, ended.stderr
