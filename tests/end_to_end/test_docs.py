"""Runs the pages of docs/: every console block, all pages in one folder, and in one job what two ranks are to do."""

import json
import os
import re
import shlex
import sys
from itertools import product
from pathlib import Path

import pytest

from hvd_ae.cli import parse_command
from tests.end_to_end.in_turn import run_in_turn
from tests.end_to_end.pages import PAGES, ROOT, commands, commands_in, shell, summary, write_python_blocks
from tests.launch import run, succeeded

ON_TWO_RANKS = "mpirun -np 2 hvd-ae "
ALL_PAGES = {path.stem: text for path, text in PAGES.items() if path.parent.name == "docs"}
# `make test` runs what no other test gives as commands on ranks; `make soak` runs the other pages.
IN_MAKE_TEST = ("results",)

# commands that other tests run: gigabytes of packages, a cluster, and what takes a while where it is not given less to do
ELSEWHERE = {
    *commands("Into an environment of your own"),  # test_readme.py
    *commands("On a cluster"),  # tests/slurm/test_scripts.py
    *commands("Fashion-MNIST"),  # below
    *commands("Plan"),  # test_plan.py
    *commands("Outside Slurm"),  # tests/faults/test_mended.py
}
ALONE = {command for text in PAGES.values() for command in commands_in(text)
         if "hvd-ae doctor" in command}  # a job of its own, since it watches over the start of MPI


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands of these pages have ended well."""
    return run_pages({name: ALL_PAGES[name] for name in IN_MAKE_TEST}, tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    pages = {name: text for name, text in ALL_PAGES.items() if name not in IN_MAKE_TEST}
    return run_pages(pages, tmp_path_factory.mktemp("others"))


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_verify_leaves_its_report_and_nothing_else(others):
    report = (others / "verify.md").read_text()
    assert report.startswith("# All laws hold: 2 ranks on 1 node, collectives horovod")
    assert report.count("| holds |") == 6  # three of each strategy's
    assert not list(others.glob(".verify*")), "what was made to look is gone"


@pytest.mark.parametrize("name", ALL_PAGES)
def test_every_command_of_a_page_is_one_that_can_be_given(name, tmp_path, monkeypatch):
    """Its flags and settings, whether or not it is run here; a run that it takes settings from had none of its own."""
    monkeypatch.chdir(tmp_path)
    for command in commands_in(ALL_PAGES[name]):
        for config in re.findall(r"--config (\S+)", command):
            Path(config).parent.mkdir(parents=True, exist_ok=True)
            Path(config).touch()
        _, _, given = command.partition("hvd-ae ")
        while given:
            _, settings = parse_command(shlex.split(given))
            getattr(settings, "resolved", lambda: None)()
            given = given.partition(" -- ")[2] if given.startswith("run ") else ""


def run_pages(pages: dict[str, str], folder: Path) -> Path:
    """Run all commands of some pages in one folder.

    Importing TensorFlow takes ranks longer than most of these commands, so one job runs all that begin `mpirun -np 2 hvd-ae`;
    what stands before the last of them on a page runs before that job, and the rest of the page after it.
    """
    before, on_two_ranks, after = [], [], []
    for text in pages.values():
        write_python_blocks(text, folder)
        listed = [command for command in commands_in(text) if command not in ELSEWHERE]
        shared = [command for command in listed if command.startswith(ON_TWO_RANKS) and command not in ALONE]
        end = listed.index(shared[-1]) if shared else 0
        on_two_ranks += shared
        before += [command for command in listed[:end] if command not in shared]
        after += [command for command in listed[end:] if command not in shared]
    for command in before:
        shell(command, folder)
    run_in_one_job(on_two_ranks, folder)
    for command in after:
        shell(command, folder)
    return folder


def run_in_one_job(listed: list[str], folder: Path) -> None:
    arguments = [shlex.split(command.removeprefix(ON_TWO_RANKS)) for command in listed]
    for rank, ended in enumerate(run_in_turn(2, arguments, folder, timeout=600)):
        failed = [(command, each) for command, each in zip(listed, ended, strict=True) if each["status"] != 0]
        assert not failed, f"on rank {rank}: {failed}"


def validation_curve(run_dir: Path) -> list[float]:
    return [json.loads(line)["val_mse"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_all_commands_end_well_and_their_ranks_in_sync(others):
    finished = [summary(path.parent) for path in others.glob("runs/*/summary.json")]
    assert {figures["ranks"] for figures in finished} == {1, 2}  # three ranks were gone on from by two
    assert all(figures["in_sync"] for figures in finished) and len(finished) >= 6


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_same_global_batches_give_the_same_curve_and_a_run_goes_on(others):
    one, two, three = (validation_curve(others / "runs" / name) for name in ("one", "two", "three"))
    assert len(one) == 3 and one == pytest.approx(two, rel=1e-4) and one == pytest.approx(three[:3], rel=1e-4)
    assert summary(others / "runs/three")["epochs"] == len(three) == 6


@pytest.mark.timeout(900)
def test_results(folder):
    assert (folder / "reconstructed.npy").stat().st_size > 297 * 64 * 4
    probed = json.loads((folder / "runs/digits/probe.json").read_text())
    assert all(sum(map(sum, probed[name]["confusion"])) == 297 for name in ("codes", "fine_tuned", "pixels", "pca"))
    assert probed["fine_tuned"]["accuracy"] > 0.8 and probed["pixels"]["accuracy"] > 0.9
    assert (folder / "runs/digits/probe.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_your_own_model_loads_with_plain_keras(others):
    """In a process that never sees this package or the user's module."""
    loads = ("import keras, numpy, sys; from sklearn.datasets import load_digits; "
             "model = keras.saving.load_model('runs/mine/model.keras'); assert 'hvd_ae' not in sys.modules; "
             "x = (load_digits().images / 16)[numpy.random.default_rng(297).permutation(1797)[:297]]; "
             "print(float(numpy.mean((model.predict(x, verbose=0) - x) ** 2)))")
    mse = float(succeeded(run([sys.executable, "-c", loads], cwd=others)).splitlines()[-1])
    assert mse == pytest.approx(summary(others / "runs/mine")["val_mse"], rel=1e-4)


# by epochs and averaging; plain Keras in one process: 0.0147 after 10
BOUNDS = {(2, "gradient"): 0.0230, (2, "parameter"): 0.0235, (10, "gradient"): 0.0155, (10, "parameter"): 0.0165}


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("command", "epochs"), [*product(commands("Fashion-MNIST"), (2, 10))])
def test_fashion_mnist(tmp_path, command, epochs):
    """As docs/data.md says, and for two of its ten epochs; `make test` reads its files (test_data_download.py)."""
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


def test_a_page_uses_only_runs_of_its_own():
    """All pages run in one folder, and a reader may begin with any."""
    for path, text in PAGES.items():
        made = set()
        for command in commands_in(text):
            used = set(re.findall(r"\bruns/\w+", command))
            if "--run-dir" in command and "--resume" not in command:
                made.add(re.search(r"--run-dir (runs/\w+)", command)[1])
            assert used <= made, f"{path.name}: {command}"


def test_every_command_in_the_table_of_the_readme_stands_on_the_page_beside_it():
    table = re.findall(r"^\|[^|]+\| `([^`]+)` \| \[[^]]+\]\((docs/[\w-]+\.md)", PAGES[ROOT / "README.md"], flags=re.M)
    assert len(table) > 12
    elsewhere = [command for command, page in table if command not in commands_in(PAGES[ROOT / page])]
    assert not elsewhere


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, flags=re.M)}


def test_every_link_and_path_in_the_pages_leads_somewhere():
    linked = set()
    for path, text in PAGES.items():
        named = re.findall(r"`((?:hvd_ae|jobs|tests|benchmarks|docs)/[\w/.]*)`", text)
        missing = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]+)#?([^)]*)\)", text):
            to = (path.parent / target).resolve()
            if not to.exists() or (anchor and anchor not in anchors(to.read_text())):
                missing.append(f"{target}#{anchor}")
            elif path.name == "README.md":
                linked.add(to)
        assert not missing, f"{path.name}: {missing}"
    assert set(PAGES) - linked == {ROOT / "README.md"}, "each page is linked from the README"
