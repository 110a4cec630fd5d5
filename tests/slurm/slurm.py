"""The test cluster, and jobs on it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.launch import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "jobs"
CLUSTER = Path(__file__).with_name("cluster.sh")
TRAINING = ("--epochs", "3", "--model", "shallow", "--threads", "1")

# Nodes: three, so that a dead one can be replaced. Each says it has the machine's first two cores to itself, and binds
# ranks to them. Timeouts: a dead node is noticed, and a requeued job may start again, within seconds.
NODES = {
    "SLURM_TEST_CPUS": "2",
    "SLURM_TEST_GPUS": "2",
    "SLURM_TEST_TASKPLUGIN": "task/affinity",
    "SLURM_TEST_SLURMD_TIMEOUT": "5",
    "SLURM_TEST_CRED_EXPIRE": "5",
    "SLURM_TEST_GRACE": "10",
    "SLURM_TEST_EXTRA_CONF": "MessageTimeout=3",
}


@dataclass(frozen=True)
class Job:
    """A submitted job; `index` is the point of an array."""

    slurm: "Slurm"
    number: str
    folder: Path

    def field(self, name: str) -> str:
        """A field of `scontrol show job`, such as JobState."""
        shown = self.slurm.command("scontrol", "--oneliner", "show", "job", self.number).split()
        return next(word.partition("=")[2] for word in shown if word.startswith(f"{name}="))

    @property
    def state(self) -> str:
        return self.field("JobState")

    def ended(self, seconds: float = 120) -> "Job":
        """Wait for the end of the job, whatever it is."""
        self.until(lambda: self.state in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"), seconds)
        return self

    def until(self, condition, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                state = self.state
                self.slurm.command("scancel", self.number)
                raise AssertionError(f"job {self.number} ({state}) did not get there in {seconds} s:\n{self.output}")
            time.sleep(0.2)

    @property
    def exit_status(self) -> int:
        return int(self.field("ExitCode").partition(":")[0])

    @property
    def output(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.out")))

    def succeeded(self, seconds: float = 120) -> "Job":
        self.ended(seconds)
        assert (self.state, self.exit_status) == ("COMPLETED", 0), self.output
        return self

    def summary(self, run: str = "*") -> dict:
        """What the job's only training wrote at its end."""
        (path,) = self.folder.glob(f"runs/{run}/summary.json")
        return json.loads(path.read_text())

    def notes(self, start: int | str = 0) -> list[dict]:
        """What the stand-in noted at a start of the job, in the order of ranks."""
        paths = sorted(self.folder.glob(f"start-{start}-rank-*.json"))
        return [json.loads(path.read_text()) for path in paths]


class Slurm:
    """Commands on the running cluster."""

    def __init__(self, folder: Path, config: str):
        self.folder = folder  # each node sees another folder at folder/local
        self.environment = {**ENVIRONMENT, "SLURM_CONF": config, "SLURM_TEST_CLUSTER_DIR": str(folder)}

    def command(self, *words: str, cwd: Path | None = None, check: bool = True, **environment: str) -> str:
        """The standard output of a command, on which nothing is said about its standard error unless it fails."""
        ended = subprocess.run(words, env={**self.environment, **environment}, cwd=cwd, capture_output=True, text=True,
                               timeout=120, stdin=subprocess.DEVNULL)
        assert not check or ended.returncode == 0, f"{words} exited with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def submit(self, folder: Path, script: str, *arguments: str, options: tuple[str, ...] = (), **environment: str) -> Job:
        """Submit a script of jobs/ on two nodes with one rank each; its run folders and output go into `folder`."""
        words = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", "--time=5",
                 f"--output={folder}/%x-%j.out", *options, str(JOBS / script), *arguments]
        given = {"HVD_AE_VENV": sys.prefix, "HVD_AE_RUNS": str(folder / "runs"), "HVD_AE_SCRATCH": str(self.folder / "local"),
                 "STAND_IN_NOTES": str(folder), **environment}
        return Job(self, self.command(*words, cwd=ROOT, **given).strip(), folder)

    def cluster(self, *words: str) -> None:
        self.command(str(CLUSTER), *words)


def start_cluster(folder: Path) -> tuple[Slurm, subprocess.Popen]:
    """Bring the cluster up; it goes down when the returned process sees the end of its standard input.

    That happens at the end of this process too, whatever it dies of.
    """
    environment = {**os.environ, **NODES, "SLURM_TEST_CLUSTER_DIR": str(folder)}
    keeper = subprocess.Popen(["bash", "-c", 'read -r _; exec "$0" down', str(CLUSTER)], env=environment, text=True,
                              stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    up = subprocess.run([str(CLUSTER), "up", "3"], env=environment, capture_output=True, text=True, timeout=240)
    if up.returncode != 0:
        stop_cluster(keeper)
        raise RuntimeError(f"no Slurm: {up.stderr}")
    return Slurm(folder, str(folder / "etc" / "slurm.conf")), keeper


def stop_cluster(keeper: subprocess.Popen) -> None:
    keeper.stdin.close()
    keeper.wait(timeout=60)
