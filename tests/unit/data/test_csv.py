"""CSV and TSV: NumPy and the standard library write them."""

import csv
import gzip
import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from formats import assert_holds, assert_survives_damage, opened

from hvd_ae.data.formats import csv_lines
from hvd_ae.data.source import LABELS, SAMPLES, TARGETS
from hvd_ae.errors import Refused

CHANCE = np.random.default_rng(1)
VALUES = CHANCE.normal(size=(500, 4))
CLASSES = CHANCE.integers(3, size=500)
NAMES = np.array(["wind", "rain", "Sun, low"])[CLASSES]
SORTED = np.array([2, 1, 0])[CLASSES]
FLOATS = VALUES.astype(np.float32)
SUFFIXES = [".csv", ".tsv", ".csv.gz", ".tsv.gz"]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(csv_lines, "BYTES_A_PIECE", 2000)


def write(path, rows, header=None, end="\n"):
    """As Python's own csv module does it."""
    packed = path.suffix == ".gz"
    with gzip.open(path, "wt", newline="") if packed else open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if ".tsv" in path.suffixes else ",", lineterminator=end)
        writer.writerows(([header] if header else []) + [list(row) for row in rows])
    return path


def text(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("header", [["a", "b", "c", "d"], None])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_samples(tmp_path, suffix, header, end, small_blocks):
    source = opened(write(tmp_path / f"x{suffix}", VALUES.tolist(), header, end))
    assert 15 < len(source.block_starts) < 30
    assert_holds(source, FLOATS)
    first = 2 if header else 1
    assert [source.number(index) for index in (0, 499)] == [f"0 (line {first})", f"499 (line {499 + first})"]


@pytest.mark.parametrize("ending", ["", "\n", "\n\n\r\n"])
def test_the_last_line_may_end_or_not(tmp_path, ending):
    for count in (1, 2, 500):
        lines = ["a,b,c,d", *(",".join(map(str, row)) for row in VALUES[:count].tolist())]
        assert_holds(opened(text(tmp_path / "a.csv", "\n".join(lines) + ending)), FLOATS[:count])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_fields_beside_the_samples(tmp_path, suffix, small_blocks):
    rows = [[name, *row, number] for name, row, number in zip(NAMES, VALUES.tolist(), CLASSES)]
    path = write(tmp_path / f"x{suffix}", rows, ["sky", "a", "b", "c", "d", "k"])
    source = opened(path, beside={LABELS: "sky", TARGETS: "d,k"})
    assert_holds(source, FLOATS[:, :3])
    assert_holds(source, SORTED, LABELS)
    assert source.fields[LABELS].names == ("Sun, low", "rain", "wind")
    assert_holds(source, np.stack([FLOATS[:, 3], CLASSES], axis=1).astype(np.float32), TARGETS)
    assert_holds(opened(path, beside={LABELS: "k"}, columns=["c", "a"]), FLOATS[:, [2, 0]])
    assert_holds(opened(path, beside={LABELS: "k"}), CLASSES, LABELS)
    bare = opened(write(tmp_path / f"y{suffix}", rows), beside={LABELS: "0"}, columns=["4", "1"])
    assert_holds(bare, FLOATS[:, [3, 0]])
    assert_holds(bare, SORTED, LABELS)


def test_a_first_row_is_a_header_where_a_text_stands_above_numbers(tmp_path):
    path = tmp_path / "a.csv"
    for content, expected in (
            ("1,2\n3,4\n", [[1, 2], [3, 4]]), ("id,2019\n3,4\n", [[3, 4]]), ("5.1,3,setosa\n4,3,other\n", [[5.1, 3], [4, 3]]),
            ("NA,2\n3,4\n", [[np.nan, 2], [3, 4]]), ("a,b\n,\n3,4\n", [[np.nan, np.nan], [3, 4]]), ("7,8", [[7, 8]]),
            ("x,2\n,4\n", [[2], [4]]),
            ('"a\nb",c\n3,4\n', [[3, 4]]), (",a\n0,7\n1,8\n", [[7], [8]])):  # pandas' index
        assert_holds(opened(text(path, content)), np.array(expected, np.float32))
    assert_holds(opened(text(path, "\ufeffa,b\n3,4\n"), columns=["a"]), np.array([[3]], np.float32))  # as spreadsheets begin


def test_a_header_of_a_whole_block(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_lines, "BYTES_A_PIECE", 20)
    rows = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert_holds(opened(write(tmp_path / "a.csv", rows, ["a" * 14, "b"])), np.array(rows, np.float32))


def test_line_ends_and_delimiters_within_quotes(tmp_path, small_blocks):
    """A block begins at a row, however many lines of text a row has: wherever the pieces that are looked at are cut."""
    notes = [CHANCE.choice(["", "a\nb", 'say "x"\n\n', "\r\n,\n", '"', "plain"]) for _ in range(500)]
    path = write(tmp_path / "a.csv", [[*row, note, name] for row, note, name in zip(VALUES.tolist(), notes, NAMES)],
                 ["a", "b", "c", "d", "note", "sky"])
    for size in (211, 2000, 2011, 1 << 20):
        csv_lines.BYTES_A_PIECE = size
        source = opened(path, beside={LABELS: "sky"})
        assert_holds(source, FLOATS)
        assert_holds(source, SORTED, LABELS)
    assert_holds(opened(text(tmp_path / "b.csv", 'a,note\n1,"x\ny"\n2,"z\nw"')), np.array([[1], [2]], np.float32))


def test_missing_values_are_nan_and_an_empty_line_is_a_row_of_them(tmp_path):
    nan = np.nan
    source = opened(text(tmp_path / "a.csv", "a,b,c\n1,,3\nNA,2,\n\nnull,nan,true\n4,5,6\n".replace("true", "-1e400")))
    assert_holds(source, np.array([[1, nan, 3], [nan, 2, nan], [nan] * 3, [nan, nan, -np.inf], [4, 5, 6]], np.float32))
    assert_holds(opened(text(tmp_path / "b.csv", "1\n\n2\n\n")), np.array([[1], [nan], [2]], np.float32))


def test_numbers_may_change_their_kind_after_the_first_lines(tmp_path, small_blocks):
    rows = [[1, "", "true"]] * 400 + [[2.5, 7, "false"]] * 400
    expected = np.array([[1, np.nan, 1]] * 400 + [[2.5, 7, 0]] * 400, np.float32)
    assert_holds(opened(write(tmp_path / "a.csv", rows, ["a", "b", "c"])), expected)


@pytest.mark.parametrize(("content", "given", "sentence"), [
    ("a,b\n1,2\n3\n4,5\n", {}, r"line 3: Expected 2 columns, got 1: 3: mend or drop that line"),
    ("1,2\n3,4,5\n", {}, "line 2: Expected 2 columns, got 3"),
    ('a,b\n1,"2"\n3,4,"x\ny"\n', {}, "row 3: Expected 2 columns, got 3"),
    ("a,b\n1,2\n3,4\n", {"columns": ["a", "c"]}, r"has no column 'c': it has 'a' \(int64\), 'b' \(int64\)"),
    ("a,b\n1,x\n3,4\n", {"columns": ["b"]}, "samples='b' of .* is a column of type string, where numbers are needed"),
    ("a,b\nx,y\nz,z\n", {}, "has no column of numbers"),
    ("a,a\n1,2\n", {}, "has 2 columns named 'a'"),
    ("a;b\n1;2\n", {}, "has but one column, 'a;b': its values seem to be separated by ';'"),
    ("", {}, "is empty"), ("\n\n", {}, "is empty"), ("a,b\n", {}, "holds no rows"),
    ('a,b\n1,"2\n3,4\n', {}, "has a quotation mark that nothing closes"),
    ("a,b\n1,\n2,3\n", {"beside": {LABELS: "b"}}, r"column 'b' holds no value in sample 0 \(line 2\), where a label"),
    ("a,b\n1,x\n2,\n", {"beside": {LABELS: "b"}}, r"column 'b' holds no value in sample 1 \(line 3\), where a label"),
    ("a,b\n1,1.5\n2,3\n", {"beside": {LABELS: "b"}}, "labels='b' holds values of .*there must be one whole"),
    ("a,b\n1,2\n", {"beside": {LABELS: "c"}}, "has no column 'c'"),
    ("a,b\r1,2\r3,4\r", {}, "cannot be read|holds no rows|no whole CSV"),
    (b"\xff\xfea\x00,\x00b\x00\n\x00", {}, "no whole CSV file .*decode"),
])
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_refused(tmp_path, content, given, sentence, packed):
    content = content.encode() if isinstance(content, str) else content
    path = text(tmp_path / ("a.csv.gz" if packed else "a.csv"), gzip.compress(content) if packed else content)
    with pytest.raises(Refused, match=sentence) as refusal:
        source = opened(path, **given)
        for field in source.fields:
            source.read_all(field)
    assert str(path) in str(refusal.value) or "labels=" in str(refusal.value)
    assert str(refusal.value).count("data=") <= 1  # no sentence within another
    assert "\n" not in str(refusal.value)


def test_a_text_among_numbers_is_told_by_its_line(tmp_path, small_blocks):
    rows = VALUES.tolist()
    rows[450][1] = "broken"
    with pytest.raises(Refused, match=r"line 452, column 'b': .*invalid value 'broken': mend or drop that line, or leave"):
        opened(write(tmp_path / "a.csv", rows, ["a", "b", "c", "d"])).read_all(SAMPLES)
    with pytest.raises(Refused, match=r"line 451, column '1': .*invalid value 'broken'"):
        opened(write(tmp_path / "a.csv", rows)).read_all(SAMPLES)
    assert_holds(opened(write(tmp_path / "a.csv", rows), columns=["0", "2"]), FLOATS[:, [0, 2]])


def test_a_row_that_never_ends_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_lines, "BYTES_A_PIECE", 100)
    monkeypatch.setattr(csv_lines, "_LONGEST_ROW", 1000)
    with pytest.raises(Refused, match="has a row of more than 0 MiB, row 2: is a quotation mark not closed"):
        opened(text(tmp_path / "a.csv", 'a,b\n1,"' + "2,3\n" * 1000))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_that_is_missing_cut_short_or_replaced(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(Refused, match=r"cannot be read \(No such file or directory\): check the path"):
        opened(path)
    source = opened(write(path, VALUES.tolist()))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Refused, match="has changed since this run opened it"):
        source.read_block(0, [SAMPLES])
    if suffix == ".csv.gz":
        with pytest.raises(Refused, match="is no whole .gz file .*copy or write it anew"):
            opened(path)
    np.save(tmp_path / "l.npy", np.arange(3))
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"has shape \(3,\), where there are 500 samples"):
        opened(path, beside={LABELS: str(tmp_path / "l.npy")})


def test_a_packed_file_is_unpacked_once_for_a_node(tmp_path, caplog):
    path = write(tmp_path / "a.csv.gz", VALUES.tolist())
    with caplog.at_level(logging.INFO, "hvd_ae"):
        assert_holds(opened(path), FLOATS)
        assert_holds(opened(path), FLOATS)
    assert [record.getMessage() for record in caplog.records if "is unpacked into" in record.getMessage()] == [
        record.getMessage() for record in caplog.records][:1]
    folder = Path(tempfile.gettempdir()) / f"hvd_ae-{os.getuid()}"
    assert sorted(file.suffix for file in folder.iterdir()) == [".csv", ".lock"]
    assert folder.stat().st_mode & 0o077 == 0
    os.utime(path, (1, 1))
    write(path, (VALUES * 2).tolist())  # another content of about that size
    assert_holds(opened(path), FLOATS * 2)
    folder.chmod(0o777)
    with pytest.raises(Refused, match="which others can write to or own: remove it, or name another folder in TMPDIR"):
        opened(path)


def test_progress_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(csv_lines, "_SECONDS_BETWEEN_WORDS", 0)
    monkeypatch.setattr(csv_lines, "BYTES_A_PIECE", 1 << 14)
    with caplog.at_level(logging.INFO, "hvd_ae"):
        opened(write(tmp_path / "a.csv.gz", VALUES.tolist()))
    said = [record.getMessage() for record in caplog.records]
    for doing in ("unpacking", "finding its lines"):
        shares = [int(line.rpartition(" ")[2][:-1]) for line in said if doing in line]
        assert len(shares) > 1
        assert shares == sorted(shares)
        assert shares[-1] == 100


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_damage_is_refused_or_harmless(tmp_path, suffix):
    rows = [[*row, name] for row, name in zip(VALUES[:60].tolist(), NAMES)]
    path = write(tmp_path / f"a{suffix}", rows, ["a", "b", "c", "d", "sky"])
    assert_survives_damage(path, path, beside={LABELS: "sky"})


def test_without_pyarrow_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Refused, match=r"is read by pyarrow, which is not installed: pip install 'hvd_ae\[parquet\]'"):
        opened(write(tmp_path / "a.csv", VALUES.tolist()))
