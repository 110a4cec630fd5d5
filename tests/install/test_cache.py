"""The built wheel is found again for the same versions, and for no others."""

import dataclasses
import os
from pathlib import Path

import pytest

from hvd_ae.errors import Refused
from hvd_ae.install.build import _keep
from hvd_ae.install.cache import cache_folder, cached_wheel, wheel_folder
from hvd_ae.install.edits import edits
from hvd_ae.install.mpi import Mpi

SITE = Mpi(
    compiler=Path("/opt/mpi/bin/mpicxx"), mpirun=Path("/opt/mpi/bin/mpirun"), library=Path("/opt/mpi/lib/libmpi.so"),
    vendor="openmpi", version="4.1.4", embedded=False,
)  # fmt: skip


def folder(tensorflow="tensorflow-2.21.0", mpi=SITE, gpu=False, changes=None) -> Path:
    return wheel_folder(Path("/cache"), tensorflow, mpi, gpu, changes or edits(SITE.mpirun))


def test_whatever_was_built_for_is_in_the_name():
    others = [
        folder(),
        folder(tensorflow="tensorflow-2.20.0"),
        folder(gpu=True),
        folder(changes=edits(None)),
        folder(mpi=dataclasses.replace(SITE, version="4.1.5")),
        folder(mpi=dataclasses.replace(SITE, vendor="mpich")),
        folder(mpi=dataclasses.replace(SITE, library=Path("/opt/other/lib/libmpi.so"))),
    ]
    assert len(set(others)) == len(others)
    assert folder() == others[0]


def test_the_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HVD_AE_CACHE", raising=False)
    assert cache_folder() == tmp_path / "home/.cache/hvd_ae"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/hvd_ae"
    monkeypatch.setenv("HVD_AE_CACHE", str(tmp_path / "said"))
    assert cache_folder() == tmp_path / "said"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"


def test_a_cache_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be made .* HVD_AE_CACHE"):
        cache_folder(tmp_path / "file" / "cache")


def test_a_wheel_is_kept_whole_or_not_at_all(monkeypatch, tmp_path):
    built = tmp_path / "horovod-0.28.1-any.whl"
    built.write_bytes(b"wheel")
    target = tmp_path / "target"
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _keep(built, target)
    assert cached_wheel(target) is None
    assert _keep(built, target) == cached_wheel(target) == target / built.name
    assert cached_wheel(target).read_bytes() == b"wheel"
