"""`hvd-ae install-horovod --gpu` on a machine that need not have a GPU: it compiles, links NCCL, and trains on CPUs.

`make test-gpu-build` runs it, outside `make test`, because it downloads more than a gigabyte and compiles for minutes.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.launch import run, succeeded

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on the PATH: install the CUDA toolkit")
@pytest.mark.timeout(2700)
def test_horovod_with_nccl(tmp_path):
    environment = tmp_path / "env"
    succeeded(run([sys.executable, "-m", "venv", str(environment)]))
    python = str(environment / "bin" / "python")
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    succeeded(run([*pip, "--no-deps", "--requirement", str(ROOT / "requirements" / "dev.txt")], timeout=1200))
    succeeded(run([*pip, "--no-deps", "nvidia-nccl-cu12"], timeout=600))
    succeeded(run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], timeout=300))
    succeeded(run([str(environment / "bin" / "hvd-ae"), "install-horovod", "--gpu"], timeout=1500, PATH=path))

    asks = "import horovod.tensorflow as hvd; print(hvd.nccl_built(), hvd.cuda_built())"
    built = succeeded(run([python, "-c", asks], timeout=120)).split()
    assert int(built[0]) >= 22000 and built[1] == "True", f"NCCL's version number and CUDA, not {built}"
    library = next((environment / "lib").glob("python*/site-packages/horovod/tensorflow/mpi_lib*.so"))
    linked = succeeded(run(["ldd", str(library)]))
    assert re.search(rf"libnccl\.so\.2 => {re.escape(str(environment))}", linked), linked

    training = ["hvd-ae", "train", "--model", "shallow", "--epochs", "2", "--run-dir", str(tmp_path / "run")]
    succeeded(run([str(environment / "bin" / "mpirun"), "-np", "2", *training], PATH=path))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["ranks"], summary["collectives"], summary["in_sync"]) == (2, "horovod", True)
