"""Files that are whole or as they were, whatever happens to the writer or the disk."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hvd_ae
from hvd_ae.errors import NotWritten
from hvd_ae.runs.files import append_line, replacing, write_atomically
from tests.room import files_up_to


def test_until_the_end_the_old_file_is_there_and_no_pattern_finds_the_new_one(tmp_path):
    path = tmp_path / "out.npy"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old" and partial.name == "out.npy"
        assert list(tmp_path.glob("*.npy")) == [path] and os.listdir(tmp_path) != ["out.npy"]
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["out.npy"]


def test_a_failed_writer_leaves_nothing_but_what_was_there(tmp_path):
    (tmp_path / "kept").write_text("old")
    for name in ("kept", "never was"):
        with pytest.raises(KeyboardInterrupt), replacing(tmp_path / name) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["kept"] and (tmp_path / "kept").read_text() == "old"


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_clears_up(tmp_path):
    path = tmp_path / "a [1] file.npy"
    path.write_text("old")
    kills_itself = ("import os, sys; from hvd_ae.runs.files import replacing\n"
                    "with replacing(sys.argv[1]) as partial:\n partial.write_text('half'); os.kill(os.getpid(), 9)")
    assert subprocess.run([sys.executable, "-c", kills_itself, str(path)], check=False).returncode == -9
    assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 2
    write_atomically(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == [path.name]


def test_of_two_writers_the_later_one_wins_and_the_other_is_told(tmp_path):
    path = tmp_path / "out.json"
    told = pytest.raises(NotWritten, match=r"out.json cannot be written \(another job is writing it too\)")
    with told, replacing(path) as earlier:
        earlier.write_text("earlier")
        write_atomically(path, "later")
    assert path.read_text() == "later" and os.listdir(tmp_path) == ["out.json"]


def test_a_link_stays_one_and_a_device_stays_a_device(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    write_atomically(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "elsewhere" / "file").read_text() == "text"
    write_atomically(Path("/dev/null"), "text")
    assert not Path("/dev/null").is_file()
    with pytest.raises(NotWritten, match=r"^/dev/full cannot be written \(No space left on device\): make room, or name"):
        write_atomically(Path("/dev/full"), "text")


@pytest.mark.parametrize("write", [
    lambda path: path.write_text("x" * 5000),
    lambda path: np.save(path, np.zeros(5000)),
], ids=["text", "numpy"])
def test_a_full_disk_is_one_sentence_and_costs_nothing(tmp_path, write):
    path = tmp_path / "out.npy"
    path.write_text("old")
    sentence = (r"^\S+/out.npy cannot be written \((?!None).+\): make room, or name another place; what was there before "
                "is as it was$")
    with files_up_to(1000), pytest.raises(NotWritten, match=sentence) as failure, replacing(path) as partial:
        write(partial)
    assert not failure.value.raised_on_all_ranks  # so that the other ranks end too
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["out.npy"]


def test_a_line_is_whole_or_not_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    with files_up_to(1000):
        append_line(path, "a" * 600)
        with pytest.raises(NotWritten, match=r"rows.jsonl cannot be written \(File too large\)"):
            append_line(path, "b" * 600)
        append_line(path, "ü")
    assert path.read_text(encoding="utf-8") == "a" * 600 + "\nü\n"


def test_a_place_where_nothing_can_be_written_is_one_sentence(tmp_path):
    with pytest.raises(NotWritten, match=r"nowhere/file cannot be written \(No such file or directory\)"):
        write_atomically(tmp_path / "nowhere" / "file", "text")
    with pytest.raises(NotWritten, match=r"cannot be written \(Is a directory\)"):
        write_atomically(tmp_path, "text")


# What opens files for writing by itself: these write beside and rename too, or write what is only looked at.
WRITERS = {"runs/files.py", "training/checkpointing/files.py", "data/download.py", "data/staging.py", "runtime/watchdog.py",
           "data/formats/record_index.py", "data/formats/unpacked.py",
           "commands/doctor/measured.py", "commands/verify.py", "commands/convert/npy.py", "commands/convert/hdf5.py",
           "commands/convert/parquet.py", "runs/page/pictures.py"}  # the last into memory
WRITE = {"write_text", "write_bytes", "savefig", "print_png", "open_memmap", "save", "savez", "dump"}


def is_writing(call: ast.Call) -> bool:
    function = getattr(call.func, "attr", getattr(call.func, "id", ""))
    mode = "".join(ast.unparse(argument) for argument in call.args[1:2])
    is_method = isinstance(call.func, ast.Attribute)
    return (is_method and function in WRITE) or (function == "open" and re.search("[wax+]", mode) is not None)


def test_every_file_goes_through_a_writer_that_keeps_it_whole():
    """Whatever else writes does it to the path `partial`, which `replacing` gave, or hands a session to who saves it."""
    package, found, writers = Path(hvd_ae.__file__).parent, set(), set()
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and is_writing(node)]
        writers |= {name} if calls else set()
        found |= {f"{name}: {ast.unparse(call)}" for call in calls if name not in WRITERS
                  and not name.startswith("install/") and not {"partial", "session"} & set(map(ast.unparse, call.args))}
    assert not found, found
    assert writers >= WRITERS
