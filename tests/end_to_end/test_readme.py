"""Runs the README: every console block, section by section, each section in a folder of its own."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.end_to_end.environments import bring
from tests.launch import BIN, ENVIRONMENT, run, succeeded

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0].strip(): part for part in re.split(r"^#+ (?!\S+\.py$)", README, flags=re.M)[1:]}

# `make test` is what runs this file; activating an environment is what PATH below does
ELSEWHERE = {"make test", "source .venv/bin/activate"}
OWN_TEST = {"hvd_ae", "Data sets", "Into an environment of your own", "On a cluster"}  # the last in tests/slurm


def commands(section: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", SECTIONS[section], flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), f"a console block of {section!r} holds more than commands"
    return [line[2:] for line in lines if line[2:] not in ELSEWHERE]


def shell(command: str, folder: Path, timeout: float = 300, path: str | None = None) -> str:
    """What a reader's shell would do with that line, the environment's programs coming first on the PATH."""
    return succeeded(run(["bash", "-euc", command], cwd=folder, timeout=timeout,
                         PATH=f"{path or BIN}{os.pathsep}{os.environ['PATH']}"))


def write_python_blocks(section: str, folder: Path) -> None:
    """Python blocks name their file in the first line."""
    for name, code in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", SECTIONS[section], flags=re.S):
        (folder / name).write_text(code)


def summary(run_dir: Path) -> dict:
    return json.loads((run_dir / "summary.json").read_text())


def validation_curve(run_dir: Path) -> list[float]:
    return [json.loads(line)["val_mse"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def sections_run(tmp_path_factory):
    """The folder of each section, in which all its commands have ended well."""
    folders = {}
    for section in SECTIONS:
        if section not in OWN_TEST and commands(section):
            folders[section] = folder = tmp_path_factory.mktemp("section")
            write_python_blocks(section, folder)
            for command in commands(section):
                shell(command, folder)
    return folders


@pytest.mark.timeout(900)
def test_on_ranks(sections_run):
    runs = sections_run["On ranks"] / "runs"
    finished = [summary(folder) for folder in runs.iterdir()]
    assert {s["ranks"] for s in finished} == {1, 2, 3}
    assert all(s["in_sync"] for s in finished)
    assert summary(runs / "digits")["epochs"] == 6
    one, two, three = (validation_curve(runs / name) for name in ("one", "two", "three"))
    assert len(one) == 3 and one == pytest.approx(two, rel=1e-4) and one == pytest.approx(three, rel=1e-4)
    reconstructed = sections_run["On ranks"] / "reconstructed.npy"
    assert reconstructed.stat().st_size > 297 * 64 * 4
    probed = json.loads((runs / "digits" / "probe.json").read_text())
    assert all(sum(map(sum, probed[name]["confusion"])) == 297 for name in ("codes", "fine_tuned", "pixels", "pca"))
    assert probed["fine_tuned"]["accuracy"] > 0.8 and probed["pixels"]["accuracy"] > 0.9
    assert (runs / "digits" / "probe.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(900)
def test_before_a_long_job(sections_run):
    folder = sections_run["Before a long job"]
    report = (folder / "verify.md").read_text()
    assert report.startswith("# All laws hold: 2 ranks on 1 node, collectives horovod")
    assert report.count("| holds |") == 6  # three of each way's
    assert not list(folder.glob("runs")) and not list(folder.glob(".verify*")), "what was made to look is gone"


@pytest.mark.timeout(900)
def test_your_own_model_and_data(sections_run):
    folder = sections_run["Your own model and data"]
    assert summary(folder / "runs/mine")["ranks"] == 2
    # plain Keras, in a process that never sees this package or the user's module
    loads = ("import keras, numpy, sys; model = keras.saving.load_model('runs/mine/model.keras'); "
             "assert 'hvd_ae' not in sys.modules; x = numpy.load('my_data.npy')[-180:]; "
             "print(float(numpy.mean((model.predict(x, verbose=0) - x) ** 2)))")
    mse = float(succeeded(run([sys.executable, "-c", loads], cwd=folder)).splitlines()[-1])
    assert mse == pytest.approx(summary(folder / "runs/mine")["val_mse"], rel=1e-4)


@pytest.mark.timeout(600)
def test_the_first_command(tmp_path):
    assert commands("hvd_ae") == ["make train"]
    shell(f"make train ARGS={shlex.quote(f'--epochs 2 --run-dir {tmp_path}/run')}", ROOT)
    assert summary(tmp_path / "run")["collectives"] == "horovod"
    assert summary(tmp_path / "run")["ranks"] == 2
    for picture in ("loss.png", "reconstructions.png", "latent.png"):
        assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")


# by epochs and averaging; plain Keras in one process: 0.0147 after 10
BOUNDS = {(2, "gradient"): 0.0230, (2, "parameter"): 0.0235, (10, "gradient"): 0.0155, (10, "parameter"): 0.0165}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("epochs", [2, pytest.param(10, marks=pytest.mark.soak)])
@pytest.mark.parametrize("command", commands("Data sets"))
def test_fashion_mnist(tmp_path, command, epochs):
    """As the README says, and for two of its ten epochs."""
    from hvd_ae.data.download import find_files, search_folders

    if find_files("fashion-mnist", search_folders("fashion-mnist", os.environ)) is None and "CI" not in os.environ:
        pytest.skip("Fashion-MNIST is not on this machine: install Debian's dataset-fashion-mnist")
    assert "--epochs 10" in command
    shell(command.replace("--epochs 10", f"--epochs {epochs}"), tmp_path, timeout=800)
    [run_dir] = (tmp_path / "runs").iterdir()
    figures = summary(run_dir)
    assert figures["in_sync"] is True
    assert figures["val_mse"] <= BOUNDS[epochs, figures["averaging"]]
    if figures["averaging"] == "parameter":  # every 16 steps, and once more where an epoch ends
        vectors_sent = figures["bytes_sent_per_rank"] / (4 * figures["parameters"])
        assert vectors_sent <= figures["steps"] / 15


def test_into_an_environment_of_your_own(tmp_path, monkeypatch):
    """In a new environment with what setup.cfg asks for and no more, in the versions of the one that runs the tests."""
    environment = tmp_path / "env"
    succeeded(run([sys.executable, "-m", "venv", str(environment)]))
    succeeded(run([str(environment / "bin" / "pip"), "uninstall", "--yes", "setuptools"]))  # an old one, of Python's own
    monkeypatch.setitem(ENVIRONMENT, "PIP_NO_INDEX", "1")  # whatever is not there ends the test
    monkeypatch.setitem(ENVIRONMENT, "PIP_NO_BUILD_ISOLATION", "0")  # pip reads it as the value of --build-isolation
    bring("hvd_ae", environment)
    install_and_train(tmp_path, extras=lambda: bring("hvd_ae[mpi,horovod]", environment))


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_into_an_environment_of_your_own_with_the_versions_of_today(tmp_path):
    """The newest versions that setup.cfg allows, as users get them: gigabytes are downloaded and unpacked."""
    succeeded(run([sys.executable, "-m", "venv", str(tmp_path / "env")]))
    install_and_train(tmp_path)


def install_and_train(tmp_path: Path, extras=lambda: None) -> None:
    """The README's commands; what is missing on the way is said in a sentence."""
    bin_path = str(tmp_path / "env" / "bin")

    def trained_by(command: str, name: str) -> str:
        shell(f"{command} --model shallow --epochs 1 --run-dir {name}", tmp_path, path=bin_path)
        return summary(tmp_path / name)["collectives"]

    def refused(command: str) -> str:
        ended = run(["bash", "-uc", command], cwd=tmp_path, PATH=f"{bin_path}{os.pathsep}{os.environ['PATH']}")
        assert ended.returncode == 2 and "Traceback" not in ended.stderr
        return ended.stderr

    shell("pip install .", ROOT, timeout=1200, path=bin_path)
    assert trained_by("hvd-ae train", "alone") == "single"
    assert "collectives='mpi' needs mpi4py, which is not installed: pip install" in refused("hvd-ae train --collectives mpi")

    extras()
    install, build = commands("Into an environment of your own")
    shell(install, ROOT, timeout=1200, path=bin_path)
    assert trained_by("mpirun -np 2 hvd-ae train", "mpi") == "mpi"
    assert "needs horovod, which is not installed: `hvd-ae install-horovod`" in refused("hvd-ae train --collectives horovod")

    shell(build, ROOT, timeout=1200, path=bin_path)  # the wheel built before is found again
    assert trained_by("mpirun -np 2 hvd-ae train", "horovod") == "horovod"


def test_every_path_in_the_readme_is_there():
    named = re.findall(r"`((?:hvd_ae|jobs|tests|benchmarks|docs)/[\w/.]*)`", README)
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(named) > 5
    missing = [path for path in named + linked if not (ROOT / path).exists()]
    assert not missing
