"""The example of a reader of one's own does what every format does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples import source as example
from hvd_ae.data.load import load
from hvd_ae.data.source import LABELS
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World
from tests.unit.data.formats import assert_holds, opened

COUNTS = np.random.default_rng(0).integers(65536, size=(70, 9))
CLASSES = np.arange(70) % 4


def test_it_reads_what_was_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example.write(example.FILE, CLASSES, COUNTS)
    source = opened("examples.source:events")
    assert_holds(source, COUNTS.astype(np.float32))
    assert_holds(source, CLASSES, LABELS)
    assert source.seen(np.arange(70)).max() <= 1
    assert load("examples.source:events", World()).validation.count == 7


def test_its_own_file_can_be_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, example.__file__], check=True, env={"PYTHONPATH": str(Path(__file__).parents[3])})
    assert opened("examples.source:events").fields.keys() == {"samples", LABELS}


@pytest.mark.parametrize(("content", "sentence"), [
    (None, "cannot be read"), (b"EVENTS1\0\1", "does not begin"), (b"EVENTS2\0" + b"\1\0\0\0" * 2, "does not begin"),
    (b"EVENTS1\0" + b"\5\0\0\0" * 2 + b"\0" * 9, "ends before its 5 events"),
])
def test_a_bad_file_is_refused(tmp_path, monkeypatch, content, sentence):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(example.FILE).write_bytes(content)
    with pytest.raises(Refused, match=sentence):
        opened("examples.source:events")
