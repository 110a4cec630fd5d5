"""What is in a run folder stays as it was until all is agreed on, and belongs to one job at a time."""

import json
import sys

import pytest

from hvd_ae.api import train
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.errors import NotWritten, Refused
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.checkpointing.save import checkpoints, save
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.session import Session
from tests.launch import HVD_AE, mpirun, ranks_of, run, started, status_of, succeeded, wait_until
from tests.room import files_up_to

SETTINGS = {"data": "synthetic:60x4", "model": "shallow", "batch_size": 9, "epochs": 2, "collectives": "single"}  # 6 steps


def trained(folder, **changes):
    return train(TrainSettings(**{**SETTINGS, "run_dir": str(folder), **changes}).resolved())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_no_usable_checkpoint_is_a_refusal_that_names_each_and_touches_nothing(tmp_path):
    trained(tmp_path)
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step-00000012", "step-00000006"]
    (tmp_path / "checkpoints" / "step-00000012" / "manifest.json").write_text("{")
    (tmp_path / "checkpoints" / "step-00000006" / "parameters.npy").write_bytes(b"")
    before = contents(tmp_path)
    with pytest.raises(Refused) as refusal:
        trained(tmp_path, resume=True, epochs=5)
    folder = tmp_path / "checkpoints"
    assert str(refusal.value) == (
        f"no checkpoint in {folder} can be used ({folder}/step-00000012/manifest.json is not a checkpoint's JSON; "
        f"{folder}/step-00000006/parameters.npy is not as it was written (0 bytes, SHA-256 differs)), and nothing there was "
        "touched: mend this, or begin anew with another --run-dir")
    assert contents(tmp_path) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_from_nothing(tmp_path):
    trained(tmp_path)
    for path in checkpoints(tmp_path / "checkpoints"):
        path.rename(path.with_suffix(".partial"))
    assert trained(tmp_path, resume=True).summary["steps"] == 12
    assert [record["step"] for record in records(tmp_path)] == [6, 12]


def test_an_unusable_checkpoint_is_set_aside_and_costs_no_other(tmp_path, caplog):
    """With larger batches there are more checkpoints before the steps of the unusable ones."""
    trained(tmp_path, epochs=3, keep_checkpoints=3)
    folder = tmp_path / "checkpoints"
    for step in (12, 18):
        (folder / f"step-000000{step}" / "parameters.npy").write_bytes(b"")
    trained(tmp_path, resume=True, epochs=3, batch_size=28, keep_checkpoints=2)  # two steps an epoch: 8, 10
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-00000008", "step-00000010", "unusable-step-00000012", "unusable-step-00000018"]
    said = caplog.text
    assert f"(0 bytes, SHA-256 differs); it is kept as {folder}/unusable-step-00000018" in said


def test_the_newest_is_that_of_most_steps_and_not_the_last_in_the_alphabet(tmp_path):
    session = Session(TrainSettings(**SETTINGS).resolved(), SingleCommunicator())
    for step in (99_999_900, 100_000_000, 100_000_001):
        session.cursor = Cursor(step=step)
        assert save(session, tmp_path, keep=2).exists()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-100000001", "step-100000000"]


def test_what_was_just_written_is_not_deleted_for_what_has_a_higher_number(tmp_path):
    session = Session(TrainSettings(**SETTINGS).resolved(), SingleCommunicator())
    for step in (30, 20, 10):
        session.cursor = Cursor(step=step)
        assert save(session, tmp_path, keep=1).exists()
    assert len(checkpoints(tmp_path)) == 3


@pytest.mark.parametrize(("changes", "words"), [
    ({"loss": "bce", "optimizer": "sgd", "batch_size": 7}, "is of a run with loss='mse', but now loss='bce'"),
    ({"output_activation": "linear"}, "is of a run with output_activation='sigmoid', but now output_activation='linear'"),
    ({"data": "synthetic:61x4"}, "is of a run on other data"),
], ids=["settings", "activation", "data"])
def test_a_refused_resume_leaves_the_run_as_it_was(tmp_path, changes, words):
    trained(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(Refused, match=words):
        trained(tmp_path, **changes, resume=True)
    assert contents(tmp_path) == before


def test_refused_data_leave_no_folder(tmp_path):
    with pytest.raises(Refused):
        trained(tmp_path / "run", data=str(tmp_path / "absent.npy"))
    assert not (tmp_path / "run").exists()


MODEL = '''
import keras

WIDTHS = (8, 4)

def build(shape):
    return keras.Sequential([keras.Input(shape), *(keras.layers.Dense(width) for width in WIDTHS)])
'''


def test_a_model_that_was_edited_is_refused_by_its_first_other_variable(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_model.py").write_text(MODEL)
    import edited_model

    trained(tmp_path / "run", model="edited_model:build")
    before = contents(tmp_path / "run")
    for widths, words in (((6, 4), r"/kernel has shape \(4, 6\), where .*/kernel had \(4, 8\)"),
                          ((8, 4, 4), "it has 6 variables, and had 4")):
        monkeypatch.setattr(edited_model, "WIDTHS", widths)
        with pytest.raises(Refused, match=f"is of a run whose model='edited_model:build' was another .*{words}"):
            trained(tmp_path / "run", model="edited_model:build", resume=True)
        assert contents(tmp_path / "run") == before


def test_a_record_of_metrics_without_room_ends_the_run_and_costs_no_step(tmp_path):
    """The tenth record or so is the first that does not fit; files of the checkpoint are smaller."""
    with files_up_to(6000), pytest.raises(NotWritten) as failure:
        trained(tmp_path, epochs=100, checkpoint_every=0)
    [newest] = checkpoints(tmp_path / "checkpoints")
    assert str(failure.value) == (
        f"{tmp_path}/metrics.jsonl cannot be written (File too large): make room, or name another place; what was there "
        f"before is as it was; nothing that was trained is lost: go on from {newest} with --resume")
    written = len(records(tmp_path))
    assert int(newest.name[5:]) == 6 * (written + 1)
    trained(tmp_path, epochs=written + 3, resume=True)
    assert [record["epoch"] for record in records(tmp_path)] == list(range(1, written + 4))
    assert [record["samples"] for record in records(tmp_path)] == [54 * (epoch + 1) for epoch in range(written + 3)]


def test_a_model_without_room_leaves_the_one_before_and_is_written_when_there_is(tmp_path):
    first = trained(tmp_path).summary
    before = (tmp_path / "model.keras").read_bytes()
    with files_up_to(len(before) // 2), pytest.raises(NotWritten) as failure:
        trained(tmp_path, epochs=4, resume=True)
    assert str(failure.value).startswith(f"{tmp_path}/model.keras cannot be written (")
    assert str(failure.value).endswith("; the training itself is done: --resume writes what is missing")
    assert (tmp_path / "model.keras").read_bytes() == before
    assert json.loads((tmp_path / "summary.json").read_text()) == first
    assert trained(tmp_path, epochs=4, resume=True).summary["steps"] == 24
    assert (tmp_path / "model.keras").read_bytes() != before


# each rank in a working folder of its own; one job for all three runs, in which the root moves the run between them
EACH_SEES_ITS_OWN = '''
import os, shutil, sys
from mpi4py import MPI
from hvd_ae.cli import main

command = "train --data synthetic:60x4 --model shallow --run-dir r --epochs".split()
rank = MPI.COMM_WORLD.rank
os.chdir(str(rank))
assert main([*command, "1"]) == 0
for seen_by, unseen_by in ("01", "10"):
    if rank == 0:
        shutil.copytree(f"../{seen_by}", f"../seen-by-{seen_by}")
    MPI.COMM_WORLD.Barrier()
    assert main([*command, "2", "--resume"]) == 2
    MPI.COMM_WORLD.Barrier()
    if rank == 0:
        shutil.copytree(f"../{seen_by}", f"../after-{seen_by}")
        shutil.move(f"../{seen_by}/r", f"../{unseen_by}/r")
    MPI.COMM_WORLD.Barrier()
'''


def test_checkpoints_that_some_ranks_cannot_see(tmp_path):
    """As on nodes without a common file system."""
    for rank in "01":
        (tmp_path / rank).mkdir()
    script = tmp_path / "each_sees_its_own.py"
    script.write_text(EACH_SEES_ITS_OWN)
    ended = mpirun(2, sys.executable, str(script), cwd=tmp_path)
    succeeded(ended)
    assert [line for line in ended.stderr.splitlines() if line.startswith("hvd-ae:")] == [
        f"hvd-ae: no checkpoint in r/checkpoints can be used (on rank {unseen_by} of 2 r/checkpoints/step-00000001 cannot "
        "be seen), and nothing there was touched: mend this, or begin anew with another --run-dir" for unseen_by in "10"]
    assert not list((tmp_path / "1").iterdir()), "the run went from the first rank to the second, and back"
    for seen_by in "01":
        before, after = contents(tmp_path / f"seen-by-{seen_by}"), contents(tmp_path / f"after-{seen_by}")
        assert before and after == before


TAKES_OVER = '''
import sys
from hvd_ae.runs.lock import Lock
Lock.stale_after = 4.0
import hvd_ae
hvd_ae.train(hvd_ae.TrainSettings(data="synthetic:4000x64", model="shallow", epochs=int(sys.argv[2]), run_dir=sys.argv[1],
                                  resume=True))
'''


def test_of_two_jobs_on_one_folder_one_writes(tmp_path):
    """The second is refused while the first lives, and goes on when it stands still; the first wakes, and writes no more."""
    folder, script = tmp_path / "run", tmp_path / "takes_over.py"
    script.write_text(TAKES_OVER)
    endless = [HVD_AE, "train", "--data", "synthetic:4000x64", "--model", "shallow", "--run-dir", str(folder), "--epochs"]
    with started(2, *endless, "1000000", log=tmp_path / "log", SLURM_JOB_ID="4711") as job:
        wait_until(lambda: (folder / "metrics.jsonl").exists(), 90)
        ranks = ranks_of(job)
        refused = run([*endless, "5", "--resume"])
        assert refused.returncode == 2
        assert f"run_dir='{folder}' is being written by job 4711, process {ranks[0].pid} on " in refused.stderr
        for rank in ranks:
            rank.suspend()
        epochs = len(records(folder)) + 3
        succeeded(run([sys.executable, str(script), str(folder), str(epochs)]))
        after = contents(folder)
        for rank in ranks:
            rank.resume()
        assert status_of(job, tmp_path / "log", 60) == 1
        said = (tmp_path / "log").read_text()
        assert said.count("hvd-ae: ") == 1 and "Traceback" not in said, said
        assert "has lost its lock while this job gave no sign of life: this one writes nothing more" in said
    assert contents(folder) == after
    assert [record["epoch"] for record in records(folder)] == list(range(1, epochs + 1))


def test_runs_that_begin_in_the_same_second_all_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hvd_ae.runs.folder.time.strftime", lambda form, *_: "20260102-030405")
    folders = [str(train(TrainSettings(**{**SETTINGS, "epochs": 1}).resolved()).run_dir) for _ in range(2)]
    assert folders[1] == f"{folders[0]}-2" and all((tmp_path / folder / "summary.json").exists() for folder in folders)
