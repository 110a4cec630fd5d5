"""The judgement over what two ranks found; the real two-rank run is the end of every set-up."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from hvd_ae.install import check
from hvd_ae.install.mpi import Mpi
from hvd_ae.install.probe import MARK
from hvd_ae.install.steps import StepFailed

LIBRARY = "/opt/mpi/lib/libmpi.so.12"
MPI = Mpi(Path("/opt/mpi/bin/mpicxx"), Path("/opt/mpi/bin/mpirun"), Path(LIBRARY), "mpich", "5", False)


def answers(**changed) -> list[dict]:
    """What two ranks say when all is well, with some answers changed on both."""
    good = {"size": 2, "sum": 3.0, "horovod": [LIBRARY], "mpi4py": [LIBRARY]}
    return [{"rank": rank} | good | changed for rank in (1, 0)]


def test_ranks_that_agree_pass():
    assert check.judge(answers(), MPI) == ""


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"rank": 0, "size": 1}, "this mpirun does not belong to the MPI"),
        ({"sum": 1.0}, "came out as 1.0"),
        ({"horovod": ["/usr/lib/libmpi.so.12"]}, "Horovod was built for /opt/mpi/lib/libmpi.so.12 but loads"),
        ({"horovod": []}, "but loads none"),
        ({"mpi4py": None, "mpi4py_error": "No module named 'mpi4py'"}, "pip install 'mpi4py>=4'"),
        ({"mpi4py": [LIBRARY, "/usr/lib/libmpi.so.40"]}, ", /usr/lib/libmpi.so.40 but Horovod /opt/mpi/"),
        ({"mpi4py": ["/env/lib/libmpi.so.12"]}, "set MPI4PY_LIBMPI=/opt/mpi/lib/libmpi.so.12"),
    ],
)
def test_ranks_that_do_not_agree_are_told_apart(changed, sentence):
    assert sentence in check.judge(answers(**changed), MPI)


def test_a_copy_beside_the_library_is_the_same(tmp_path):
    """Intel's wheel has libmpi.so and libmpi.so.12, of which mpi4py loads one and Horovod is linked to the other."""
    for name, content in (("libmpi.so", "one"), ("libmpi.so.12", "one"), ("libmpi.so.40", "two")):
        (tmp_path / name).write_text(content)
    found = dataclasses.replace(MPI, library=tmp_path / "libmpi.so.12")
    for name, sentence in (("libmpi.so", ""), ("libmpi.so.40", "but loads")):
        loaded = [str(tmp_path / name)]
        said = check.judge(answers(horovod=loaded, mpi4py=loaded), found)
        assert sentence in said and bool(said) == bool(sentence)


def test_a_lost_rank_is_noticed():
    assert "sees (rank, size) [(1, 2)]" in check.judge(answers()[:1], MPI)


def test_answers_are_read_however_the_ranks_lines_are_mixed():
    text = "noise [0] " + MARK + '{"rank": 0}' + MARK + '{"rank": 1}[1] \n\n'
    assert check.answers(text) == [{"rank": 0}, {"rank": 1}]


def launcher(tmp_path, program: str) -> Mpi:
    """An MPI whose mpirun is a small program."""
    mpirun = tmp_path / "mpirun"
    mpirun.write_text(f"#!{sys.executable}\n{program}\n")
    mpirun.chmod(0o755)
    return Mpi(mpirun, mpirun, Path(LIBRARY), "mpich", "5", False)


def test_a_launcher_that_fails_shows_its_last_words(tmp_path, capsys):
    with pytest.raises(StepFailed, match="failed with exit status 9"):
        check.check(launcher(tmp_path, "print('no hosts'); raise SystemExit(9)"))
    assert "no hosts" in capsys.readouterr().err


def test_good_answers_do_not_excuse_a_bad_exit_status(tmp_path):
    lines = "\n".join(MARK + json.dumps(answer) for answer in answers())
    with pytest.raises(StepFailed, match="failed with exit status 9"):
        check.check(launcher(tmp_path, f"print({lines!r}); raise SystemExit(9)"))


def test_a_launcher_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(StepFailed, match="the ranks do not meet"):
        check.check(launcher(tmp_path, "import time; time.sleep(60)"))


def test_two_lone_copies_are_not_two_ranks(tmp_path):
    answer = {"rank": 0, "size": 1, "sum": 1.0, "horovod": [LIBRARY], "mpi4py": [LIBRARY]}
    lone = MARK + json.dumps(answer)
    with pytest.raises(StepFailed, match="does not belong to the MPI"):
        check.check(launcher(tmp_path, f"print({lone!r}); print({lone!r})"))
