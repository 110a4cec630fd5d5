"""The changes to Horovod's sources: exact, complete, and part of the cached wheel's name."""

from pathlib import Path

import pytest

from hvd_ae.install.edits import Edit, digest, edits
from hvd_ae.install.steps import StepFailed


def test_an_edit_replaces_its_text(tmp_path):
    (tmp_path / "a.txt").write_text("one two three")
    Edit("a.txt", "two", "2").apply(tmp_path)
    assert (tmp_path / "a.txt").read_text() == "one 2 three"


@pytest.mark.parametrize(("text", "count"), [("one three", 0), ("two and two", 2), (None, 0)])
def test_a_text_that_is_not_there_exactly_once_ends_the_build_and_changes_nothing(tmp_path, text, count):
    if text is not None:
        (tmp_path / "a.txt").write_text(text)
    with pytest.raises(StepFailed, match=rf"`two` is in a.txt {count} times instead of once"):
        Edit("a.txt", "two", "2").apply(tmp_path)
    assert text is None or (tmp_path / "a.txt").read_text() == text


def test_any_change_changes_the_digest():
    changes = edits(None)
    assert digest(changes) == digest(edits(None))
    for position, change in enumerate(changes):
        other = (
            *changes[:position],
            Edit(change.file, change.old, change.new + " "),
            *changes[position + 1 :],
        )
        assert digest(other) != digest(changes)


def test_a_sites_mpirun_is_quoted_for_the_shell_and_for_python():
    change = edits(Path("/opt/my mpi's/bin/mpirun"))[-1]
    names = {}
    exec(change.new.split("_MISSING_IMPL = 'Missing'")[1], names)
    import shlex

    assert shlex.split(names["_MPIRUN"]) == ["/opt/my mpi's/bin/mpirun"]
