"""In place of `hvd-ae`: notes what each rank was started with, and keeps the contract on signals without training.

STAND_IN_NOTES: the folder for the notes, a JSON file a rank and start.
STAND_IN_DOES: `end`, `wait` until a signal comes and end with 75, or `restarted-end`: wait at the first start only. Who
waits leaves a checkpoint. Of a start within the same job, after a loss, the notes have `again`, not the number of requeues.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

KEPT = ("SLURM_", "PMI_", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HVD_AE_", "MPI_LOCALRANKID")


def main() -> int:
    got: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: got.append(number))
    restarts, rank = os.environ.get("SLURM_RESTART_COUNT", "0"), os.environ["PMI_RANK"]
    folder = Path(sys.argv[sys.argv.index("--run-dir") + 1])
    if "--as-ranks" in sys.argv:
        restarts = "again"
    note = {
        "arguments": sys.argv[1:],
        "environment": {name: value for name, value in os.environ.items() if name.startswith(KEPT)},
        "cores": sorted(os.sched_getaffinity(0)),
        "host": socket.gethostname(),
        "files": [str(path) for path in Path(os.environ["HVD_AE_SCRATCH"]).rglob("*") if path.is_file()],
    }
    Path(os.environ["STAND_IN_NOTES"], f"start-{restarts}-rank-{rank}.json").write_text(json.dumps(note))
    does = os.environ["STAND_IN_DOES"]
    if does == "end" or (does == "restarted-end" and restarts != "0"):
        print(f"start {restarts} ends", flush=True)
        return 0
    (folder / "checkpoints" / "step-00000007").mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 120
    while not got and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5 * int(rank))  # ranks do not end in the same instant
    print(f"start {restarts} rank {rank}: {signal.Signals(got[0]).name}", flush=True)
    return 75


if __name__ == "__main__":
    sys.exit(main())
