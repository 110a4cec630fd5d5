"""One job writes into a run folder; who is dead is followed at once or after a while, who only slept writes nothing more."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hvd_ae.errors import NotWritten, Refused
from hvd_ae.runs.lock import Lock

HOLDS = """
import sys, time
from pathlib import Path
from hvd_ae.runs.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.refresh_every = 0.1
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


def quick(folder, refresh_every=0.1, stale_after=2.0):
    lock = Lock(folder)
    lock.refresh_every, lock.stale_after = refresh_every, stale_after
    return lock


@contextlib.contextmanager
def holder(folder, **environment):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, **environment})
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def elsewhere(folder):
    """Make the lock's holder one of another machine, of whose processes nothing is known here."""
    counter, _, text = (folder / "lock").read_text().partition("\n")
    table = json.loads(text)
    (folder / "lock").write_text(f"{counter}\n{json.dumps({**table, 'process': ['another', *table['process'][1:]]})}\n")


def test_the_second_is_refused_with_the_name_of_the_first(tmp_path):
    with holder(tmp_path, SLURM_JOB_ID="4711") as first:
        with pytest.raises(Refused) as refusal:
            quick(tmp_path).acquire()
        assert f"is being written by job 4711, process {first.pid} on {os.uname().nodename} since 20" in str(refusal.value)
        assert "another --run-dir" in str(refusal.value)
    assert os.listdir(tmp_path) == ["lock"]


def test_a_lock_is_given_back(tmp_path):
    for _ in range(2):
        lock = quick(tmp_path)
        lock.acquire()
        lock.check()
        lock.release()
        assert os.listdir(tmp_path) == []


def test_a_killed_holder_of_this_machine_is_followed_at_once(tmp_path):
    with holder(tmp_path) as first:
        first.kill()
        first.wait()
        lock = quick(tmp_path, refresh_every=0.1, stale_after=1000)
        lock.acquire()
        lock.check()
        lock.release()


def test_a_holder_of_another_machine_is_followed_when_it_stands_still(tmp_path):
    with holder(tmp_path) as first:
        first.kill()
        first.wait()
    elsewhere(tmp_path)
    started = time.monotonic()
    lock = quick(tmp_path)
    lock.acquire()
    assert time.monotonic() - started >= 2.0
    lock.release()


def test_one_that_slept_is_fenced_off_and_leaves_the_others_lock_alone(tmp_path):
    """What a job on a node that was cut off finds when it comes back."""
    slept, other = quick(tmp_path, refresh_every=1000), quick(tmp_path)
    slept.acquire()
    elsewhere(tmp_path)
    other.acquire()
    with pytest.raises(NotWritten, match=f"was taken over by process {os.getpid()} on .* writes nothing more"):
        slept.check()
    slept.release()
    other.check()
    other.release()
    with pytest.raises(NotWritten, match="has lost its lock"):
        other.check()


def test_a_stopped_process_loses_its_lock_and_does_not_win_it_back(tmp_path):
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGSTOP)
        lock = quick(tmp_path)
        lock.acquire()
        first.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        lock.check()
        lock.release()


def test_of_many_that_follow_a_dead_one_at_once_just_one_wins(tmp_path):
    for _ in range(8):
        (tmp_path / "lock").write_text('000000000007\n{"half a lo')
        locks, results = [quick(tmp_path, refresh_every=0.05, stale_after=0.5) for _ in range(8)], []

        def take(lock, results=results):
            try:
                lock.acquire()
                results.append(lock)
            except Refused:
                pass

        threads = [threading.Thread(target=take, args=[lock]) for lock in locks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        holds = []
        for lock in results:
            with contextlib.suppress(NotWritten):
                lock.check()
                holds.append(lock)
        assert len(holds) == 1
        for lock in results:
            lock.release()
        assert os.listdir(tmp_path) == []
