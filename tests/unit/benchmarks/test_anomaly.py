"""What the benchmark of detectors judges, where it goes on, and what its tables say."""

import numpy as np
import pytest

from benchmarks import anomaly, anomaly_data, rows
from benchmarks.anomaly_table import table
from hvd_ae import Refused


class Largest:
    """The mean of a sample is its score."""

    fits = 0

    def __init__(self, seed):
        self.sign = 1 if seed == 0 else -1

    def fit(self, samples):
        Largest.fits += 1

    def decision_function(self, samples):
        return self.sign * samples.mean(axis=1)


def sets(folder):
    samples = np.arange(40.0).reshape(20, 2)
    for name in ("a", "b"):
        np.savez(folder / f"{name}.npz", X=samples, y=np.arange(20) >= 15)


def test_a_start_goes_on_where_one_was_ended(tmp_path, monkeypatch, capsys):
    """What is measured already is no part of the second start's work, and all of it of its tables."""
    sets(tmp_path)
    monkeypatch.setattr(anomaly, "maker", lambda name, threads: Largest)
    settings = {"folder": tmp_path, "detectors": "one", "seeds": 2, "results": tmp_path, "go_on": True}
    anomaly.main(anomaly.Anomaly(sets="a", **settings))
    before, run = Largest.fits, rows.read("anomaly", tmp_path)[0]["run"]
    monkeypatch.setattr(rows, "provenance", lambda: {"run": "later", "versions": {}})
    anomaly.main(anomaly.Anomaly(sets="a,b", **settings))
    measured = rows.read("anomaly", tmp_path)
    assert (before, Largest.fits) == (1 + 4, 5 + 1 + 4) and len(measured) == 8
    assert {row["run"] for row in measured} == {run}
    assert [row["roc_auc"] for row in measured if row["seed"] == 0] == [1.0] * 4
    said = capsys.readouterr().out
    assert "| b | **0.500 ± 0.500**, " in said and "| mean of 2 tabular sets | 0.500, " in said


def test_half_of_the_normal_samples_are_learnt_from_and_all_others_judged(tmp_path):
    sets(tmp_path)
    everything, normal = anomaly_data.cases("a", 3, tmp_path)
    assert everything.learnt is everything.judged and everything.is_odd.sum() == 5
    assert len(normal.learnt) == 7 and len(normal.judged) == 13 and normal.is_odd.sum() == 5
    assert normal.learnt.max() < 30  # the odd ones are 30 to 39
    assert not set(normal.learnt[:, 0]) & set(normal.judged[:, 0])


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refused, match="sets='c': c is not known: use any of KDD-TSAD_135"):
        anomaly.main(anomaly.Anomaly(sets="c", folder=tmp_path))


def test_pictures_of_ten_classes_are_one_set_and_what_cannot_be_done_is_said():
    def row(name, detector, roc_auc, reason=None):
        return {"set": name, "learnt_from": "all", "detector": detector, "seed": 0, "roc_auc": roc_auc,
                "average_precision": roc_auc, "fit_cpu_seconds": roc_auc, "reason": reason}

    said = table([row("fashion-mnist-0", "x", 0.5), row("fashion-mnist-1", "x", 0.7), row("musk", "x", 0.9),
                  row("fashion-mnist-0", "y", 0.8), row("fashion-mnist-1", "y", 0.8), row("musk", "y", None, "of a column")])
    assert "| fashion-mnist | 0.600, 0.600, 0.60 | **0.800**, 0.800, 0.80 |" in said
    assert "| musk | **0.900**, 0.900, 0.90 | cannot |" in said
    assert "| mean of all 2 | 0.750, 0.750, 0.75 | 0.800, 0.800, 0.80 (of 1) |" in said
