"""Modules that wait until something asks for what is in them, and what Keras brings that most runs never use."""

import importlib
import sys

import pytest

from hvd_ae.runtime.deferred_import import deferred
from tests.launch import run, succeeded


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`odd.later`, which notes when it runs, and `odd.bad`, which fails to."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "__init__.py").write_text("ran = []\n")
    (tmp_path / "odd" / "later.py").write_text("import odd\nodd.ran.append(1)\n__all__ = ['value']\nvalue, _own = 7, 8\n")
    (tmp_path / "odd" / "bad.py").write_text("raise ImportError('libodd.so')\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    with deferred(["odd.later", "odd.bad"]):
        import odd.bad
        import odd.later
    assert sys.meta_path == finders and odd.ran == []
    yield odd
    for name in ("odd", "odd.later", "odd.bad"):
        del sys.modules[name]


def test_a_look_at_all_modules_runs_none(package):
    for module in list(sys.modules.values()):
        for name in ("__file__", "__path__", "__warningregistry__", "__wrapped__"):
            getattr(module, name, None)
    assert package.ran == [] and package.later.__file__.endswith("later.py")


@pytest.mark.parametrize("use", ["package.later.value", "dir(package.later)", "exec('from odd.later import value', {})",
                                 "exec('from odd.later import *; value', {})"])
def test_it_runs_once_when_it_is_used(package, use):
    eval(use, {"package": package})
    assert package.ran == [1] and (package.later.value, package.later._own) == (7, 8)
    assert importlib.import_module("odd.later") is package.later and package.ran == [1]
    assert {"value", "_own"} <= set(dir(package.later))
    with pytest.raises(AttributeError, match="odd.later"):
        _ = package.later.absent


def test_what_fails_to_import_fails_when_it_is_used(package):
    with pytest.raises(ImportError, match="libodd.so"):
        _ = package.bad.value


IN_A_NEW_PROCESS = """
import gc
import sys
import hvd_ae

hvd_ae.train(hvd_ae.TrainSettings(data="synthetic:60x16", model="shallow", epochs=1, run_dir=sys.argv[1]))
assert gc.isenabled() and gc.get_freeze_count() > 10_000
brought = {"sklearn", "scipy.stats", "matplotlib.pyplot"} & set(sys.modules)
assert not brought, f"seconds of every start go into {brought}"

import keras
from keras.wrappers import SKLearnClassifier
import sklearn.base
import matplotlib.pyplot
from tensorflow.keras import visualization

assert issubclass(SKLearnClassifier, sklearn.base.ClassifierMixin) and keras.wrappers.SKLearnClassifier is SKLearnClassifier
import numpy as np
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
model.compile("sgd", "categorical_crossentropy")
x = np.random.default_rng(0).normal(size=(20, 4))
assert SKLearnClassifier(model, fit_kwargs={"verbose": 0}).fit(x, np.arange(20) % 2).predict(x).shape == (20,)
keras.visualization.plot_image_gallery(np.zeros((2, 4, 4, 3)), value_range=(0, 1), path=sys.argv[1] + "/gallery.png")
assert visualization.plot_image_gallery is keras.visualization.plot_image_gallery
"""


def test_a_training_does_without_what_keras_would_bring_and_keras_has_it_all_the_same(tmp_path):
    succeeded(run([sys.executable, "-c", IN_A_NEW_PROCESS, str(tmp_path / "run")]))
    assert (tmp_path / "run" / "gallery.png").exists()
