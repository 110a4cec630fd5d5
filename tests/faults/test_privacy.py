"""What others on the machine get of a run: no port, and no file beyond what the user's umask allows."""

import stat
import sys

from tests.launch import run, succeeded

TRAINS = '''
import os, sys, threading, time
os.umask(0o077)
import psutil
import hvd_ae

seen, over = set(), threading.Event()
def look():
    while not over.wait(0.05):
        seen.update(connection.laddr for connection in psutil.Process().net_connections() if connection.status == "LISTEN")
looks = threading.Thread(target=look)
looks.start()
hvd_ae.train(hvd_ae.TrainSettings(epochs=2, run_dir=sys.argv[1]))
over.set()
looks.join()
print("listening:", sorted(seen))
'''


def test_one_process_opens_no_port_and_keeps_to_the_umask(tmp_path):
    script = tmp_path / "trains.py"
    script.write_text(TRAINS)
    said = succeeded(run([sys.executable, str(script), str(tmp_path / "run")]))
    assert "listening: []" in said
    written = list((tmp_path / "run").rglob("*"))
    assert len(written) > 10
    assert not [path for path in written if stat.S_IMODE(path.stat().st_mode) & 0o077]
