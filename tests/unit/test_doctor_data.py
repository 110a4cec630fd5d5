"""What `hvd-ae doctor --data` makes of data: each judgement well and ill, and readers of one's own that break promises."""

import dataclasses

import h5py
import numpy as np
import pytest

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.commands.doctor.contract import broken
from hvd_ae.commands.doctor.data import Reading, check_data, judge
from hvd_ae.data import speed
from hvd_ae.data.source import SAMPLES, BlockSource, Field, Source
from hvd_ae.settings.commands import DoctorSettings

BLOCKS = Reading(count=1_000_000, bytes_each=3136, blocks=4000, largest_block=256, singly=False, ranks=2, in_order=120_000,
                 at_random=500)
SINGLY = dataclasses.replace(BLOCKS, singly=True, in_order=1_000_000, at_random=100_000)


@pytest.mark.parametrize(("reading", "changes", "level", "says"), [
    (BLOCKS, {}, "ok", "120,000 samples/s in order, 500 at random, by 2 ranks; an epoch's reading takes 8.3 s"),
    (BLOCKS, {"blocks": 1}, "warning", "1 block for 2 ranks, of which the others wait: smaller chunks: `hvd-ae convert x.h5 "),
    (BLOCKS, {"blocks": 1, "count": 20_000}, "ok", "takes 0.33 s"),
    (BLOCKS, {"largest_block": 200_000}, "warning", "one block is 627.2MB, which a rank decodes at once: smaller chunks"),
    (BLOCKS, {"in_order": 20_000}, "warning", "31.4MB/s a rank: without decoding: `hvd-ae convert x.h5 DESTINATION.h5`"),
    (BLOCKS, {"in_order": 20_000, "count": 20_000}, "ok", "takes 1 s"),
    (SINGLY, {}, "ok", "takes 10 s"),
    (SINGLY, {"at_random": 40_000}, "warning", "DESTINATION.npy` --shuffle"),
])
def test_judgement(reading, changes, level, says):
    finding = judge(dataclasses.replace(reading, **changes), "x.h5")
    assert finding.level == level and says in finding.line(), finding.line()


@pytest.fixture
def digits_h5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((5000, 100), np.float32), chunks=(1000, 100), compression="gzip")
        file["y"] = np.arange(5000)
    return str(tmp_path / "x.h5")


@pytest.mark.parametrize(("given", "level", "says"), [
    ({}, "ok", ["5,000 samples; samples (100,) float32, labels () int64; 2.1MB as they are read",
                "a block is decoded as a whole: 5 of 1,000 samples", "by 1 rank",
                "all in every rank's memory, read once a run"]),
    ({"rows": "0:1500", "shuffle_memory": "1700KB"}, "ok", ["1,500 samples", "(--shuffle-memory 1700KB)"]),
    ({"shuffle_memory": "1700KB"}, "ok", ["windows of 2 of 5 blocks"]),
    ({"shuffle_memory": "1KB"}, "fault", ["give --shuffle-memory 816KB"]),
    ({"shuffle_memory": "much"}, "fault", ["no amount of memory"]),
    ({"data": "absent.h5"}, "fault", ["cannot be read (No such file or directory): check the path"]),
    ({"labels": "z"}, "fault", ["has no data set '/z'"]),
])
def test_findings(digits_h5, monkeypatch, given, level, says):
    monkeypatch.setattr("hvd_ae.commands.doctor.data._SECONDS", 0.01)
    findings = check_data(SingleCommunicator(), DoctorSettings(**{"data": digits_h5, **given}))
    said = "\n".join(finding.line() for finding in findings)
    assert findings[-1].level == level and all(text in said for text in says), said


class Numbers(Source):
    """Numbers that are their own squares; what a test changes makes it break a promise."""

    name, count = "numbers", 100
    fields = {SAMPLES: Field((2,), np.dtype(np.float32), bytes_stored=8)}
    block_starts = np.array([0, 40, 70])

    def read(self, indices, fields):
        return {name: np.stack([indices, indices], axis=1).astype(np.float32) ** 2 for name in fields}


HELD = np.stack([np.arange(100)] * 2, axis=1).astype(np.float32)
BROKEN = {
    "name is ''": {"name": ""},
    "fields are {}": {"fields": {}},
    "count is 0": {"count": 0},
    "does not begin at 0": {"block_starts": np.array([3, 40])},
    "does not ascend": {"block_starts": np.array([0, 40, 100])},
    "block 0 holds []": {"read_block": lambda self, block, fields: {}},
    "differs between read and read_block(0)":
        {"read_block": lambda self, block, fields: {SAMPLES: HELD[slice(*self.block_range(block))] + 1}},
    "samples of block 0 has shape (40, 2) and type float64":
        {"read": lambda self, indices, fields: {SAMPLES: HELD[indices].astype(np.float64)}},
    "is a list": {"read": lambda self, indices, fields: {SAMPLES: HELD[indices].tolist()}},
    "is not contiguous": {"read": lambda self, indices, fields: {SAMPLES: np.asfortranarray(HELD[indices])}},
    "must return the fields that are asked for":
        {"read": lambda self, indices, fields: {SAMPLES: HELD[indices], "more": HELD},
         "read_block": lambda self, block, fields: {SAMPLES: HELD[slice(*self.block_range(block))].copy()}},
    "it raises IndexError": {"read": lambda self, indices, fields: {SAMPLES: HELD[indices] if indices[0] >= 0 else HELD}},
    "differs when they are read together and one by one":
        {"read": lambda self, indices, fields: {SAMPLES: HELD[np.sort(indices)]}},
    "is not the reader's own":  # which keeps what it has read
        {"_kept": {}, "read": lambda self, indices, fields: {SAMPLES: self._kept.setdefault(tuple(indices), HELD[indices])}},
}


def test_a_reader_that_keeps_its_promises():
    assert broken(Numbers()) is None


@pytest.mark.parametrize("sentence", BROKEN)
def test_a_reader_that_does_not(sentence):
    changed = type("Changed", (Numbers,), BROKEN[sentence])()
    assert sentence in (broken(changed) or "nothing"), broken(changed)


def test_a_reader_of_ones_own_is_looked_at_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("hvd_ae.commands.doctor.data._SECONDS", 0.01)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_reader.py").write_text(
        "from tests.unit.test_doctor_data import Numbers\ndef good(): return Numbers()\n"
        "def bad():\n    found = Numbers()\n    found.read = lambda indices, fields: {}\n    return found\n")
    [data, *_] = check_data(SingleCommunicator(), DoctorSettings(data="my_reader:good"))
    assert data.level == "ok" and "its reader does what a Source must; 100 samples" in data.seen
    [data] = check_data(SingleCommunicator(), DoctorSettings(data="my_reader:bad"))
    assert data.level == "fault" and "block 0 holds []" in data.seen and data.remedy == "see hvd_ae/data/source.py"


def test_speed_reads_at_least_something_and_goes_on_from_its_block():
    class Counting(BlockSource):
        def _decode(self, block, fields):
            decoded.append(block)
            first, end = self.block_range(block)
            return {SAMPLES: HELD[first:end].copy()}

    decoded = []
    source = Counting("x", {SAMPLES: Field((2,), np.dtype(np.float32))}, 100, np.array([0, 40, 70]))
    assert speed.in_order(source, [SAMPLES], 0.0, first_block=2) > 0 and decoded == [2]
    assert speed.at_random(source, [SAMPLES], 0.0) > 0 and len(decoded) == 2
