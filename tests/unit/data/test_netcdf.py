"""NetCDF-3 as SciPy writes it, and NetCDF-4 as HDF5 files with NetCDF's conventions."""

import random
import struct

import h5py
import numpy as np
import pytest
from scipy.io import netcdf_file

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.formats import netcdf3
from hvd_ae.data.source import LABELS, SAMPLES
from hvd_ae.errors import Refused
from tests.unit.data.formats import assert_holds, opened
from tests.unit.data.test_data_damage import damaged

CHANCE = np.random.default_rng(4)
T = CHANCE.normal(size=(30, 4, 5)).astype(np.float32)
REGIONS = CHANCE.integers(3, size=30).astype(np.int32)
STORED = CHANCE.integers(-100, 100, size=(30, 4, 5)).astype(np.int16)
STORED[3, 1, 2] = -999
UNPACKED = (STORED * 0.5 + 273.15).astype(np.float32)
UNPACKED[3, 1, 2] = np.nan


def netcdf3_file(path, is_record, version=1):
    """Variables that take turns where the first dimension is the unlimited one."""
    with netcdf_file(str(path), "w", version=version) as file:
        for name, length in (("time", None if is_record else 30), ("lat", 4), ("lon", 5), ("chars", 6)):
            file.createDimension(name, length)

        def variable(name, kind, dimensions, values, **attributes):
            made = file.createVariable(name, kind, dimensions)
            made[:] = values
            for key, value in attributes.items():
                setattr(made, key, value)

        field = ("time", "lat", "lon")
        variable("time", "i4", ("time",), np.arange(30))
        variable("T", "f4", field, T, units=b"K")
        variable("packed", "i2", field, STORED, scale_factor=0.5, add_offset=np.float64(273.15), _FillValue=np.int16(-999))
        variable("labels", "i4", ("time",), REGIONS)
        variable("bytes", "i1", field, (STORED % 256).astype(np.uint8).view(np.int8), _Unsigned=b"true")
        names = np.array([b"north ", b"south ", b"centre"])[REGIONS]
        variable("name", "c", ("time", "chars"), names.view("S1").reshape(30, 6))
        variable("last", "f8", field, T * 2)
        variable("bounds", "f8", ("lat", "lon"), T[0])
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("is_record", [False, True])
def test_netcdf3(tmp_path, is_record, version, monkeypatch):
    monkeypatch.setattr(netcdf3, "bytes_a_block", lambda data_bytes: 500)
    path = netcdf3_file(tmp_path / "a.nc", is_record, version)
    source = opened(f"{path}:T", beside={"targets": "last"})
    assert isinstance(source, ArraySource) and source.arrays[SAMPLES].mode == "r"
    assert_holds(source, T)
    assert_holds(source, T.astype(np.float64).astype(np.float32) * 2, "targets")
    assert_holds(source, REGIONS.astype(np.int64), LABELS)
    source = opened(f"{path}:packed", beside={LABELS: "name", "condition": "bytes"})
    assert not source.reads_single_samples
    assert len(source.block_starts) > 2
    assert_holds(source, UNPACKED)
    assert_holds(source, (STORED % 256).astype(np.float32), "condition")
    assert [source.fields[LABELS].names[number].strip() for number in source.read_all(LABELS)] == [
        ("north", "south", "centre")[region] for region in REGIONS]


@pytest.mark.parametrize("is_record", [False, True])
def test_netcdf3_of_one_variable_and_of_one_sample(tmp_path, is_record):
    for name, values in (("a", T), ("b", T[:1])):
        with netcdf_file(str(tmp_path / f"{name}.nc"), "w") as file:
            for dimension, length in zip("xyz", (None if is_record else len(values), 4, 5)):
                file.createDimension(dimension, length)
            file.createVariable("T", "f4", ("x", "y", "z"))[:] = values
        assert_holds(opened(tmp_path / f"{name}.nc"), values)


def netcdf4_file(path):
    """As netCDF4 and xarray write it: dimensions are scales."""
    with h5py.File(path, "w") as file:
        for name, values in (("time", np.arange(30)), ("lat", np.arange(4.0)), ("lon", np.arange(5.0))):
            file[name] = values
            file[name].make_scale(name)
        file["grid"] = np.zeros((4, 5))
        file["grid"].make_scale("grid")
        file["T"] = file.create_dataset("deep/T", data=STORED, chunks=(7, 4, 5), compression="gzip", shuffle=True)
        file["T"].attrs.update({"scale_factor": 0.5, "add_offset": np.array([273.15]),
                                "_FillValue": np.array([-999], np.int16)})
        for axis, name in enumerate(("time", "lat", "lon")):
            file["T"].dims[axis].attach_scale(file[name])
    return path


def test_netcdf4_is_read_as_hdf5_and_scales_are_no_samples(tmp_path):
    path = netcdf4_file(tmp_path / "a.nc")
    for member in ("", ":T", ":/deep/T"):
        assert_holds(opened(f"{path}{member}"), UNPACKED)


@pytest.mark.parametrize(("member", "beside", "sentence"), [
    ("", {}, r"several variables that could be samples, T \(30, 4, 5\) float32, bounds .*: write which, as .*a.nc:NAME"),
    (":Q", {}, r"no variable 'Q'; it has T \(30, 4, 5\) float32, .*: name one of them"),
    (":time", {}, "samples need a first dimension"), (":name", {}, "samples must be real numbers"),
    (":T", {LABELS: "Q"}, "no variable 'Q'; it has T"), (":T", {LABELS: "last"}, "one whole number, or one text"),
    (":T", {"targets": "bounds"}, r"targets='bounds' has shape \(4, 5\), where there are 30 samples"),
])
def test_variables_that_are_refused(tmp_path, member, beside, sentence):
    path = netcdf3_file(tmp_path / "a.nc", True)
    with pytest.raises(Refused, match=sentence):
        opened(f"{path}{member}", beside=beside)


def test_files_that_are_refused(tmp_path):
    path = netcdf3_file(tmp_path / "a.nc", True)
    content = path.read_bytes()
    with pytest.raises(Refused, match="cannot be read .No such file"):
        opened(tmp_path / "b.nc")
    for changed, sentence in ((content[:-500], "no whole NetCDF-3 file"), (content[:40], "no whole NetCDF-3 file"),
                              (b"CDF\5" + content[4:], "kind 05.*nccopy -k nc4"), (b"", "does not begin as an HDF5 file"),
                              (content.replace(struct.pack(">d", 273.15), struct.pack(">d", np.inf)), "add_offset=inf")):
        path.write_bytes(changed)
        with pytest.raises(Refused, match=sentence):
            opened(f"{path}:packed")


def test_a_file_replaced_while_it_is_open(tmp_path):
    path = netcdf3_file(tmp_path / "a.nc", True)
    source = opened(f"{path}:packed")
    netcdf3_file(tmp_path / "b.nc", True).rename(path)
    with pytest.raises(Refused, match="a.nc has changed since this run opened it"):
        source.read_block(0, [SAMPLES])


@pytest.mark.parametrize("member", ["T", "packed"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, member):
    path, chance, refusals = netcdf3_file(tmp_path / "a.nc", True), random.Random(6), 0
    content = path.read_bytes()
    for _ in range(100):
        path.write_bytes(damaged(content, chance))
        try:
            source = opened(f"{path}:{member}")
            source.read(np.array([0, source.count - 1]), list(source.fields))
        except Refused as refusal:
            refusals += 1
            assert str(path) in str(refusal) and "\n" not in str(refusal)
    assert 10 < refusals < 100
