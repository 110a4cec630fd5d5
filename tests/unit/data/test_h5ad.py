"""AnnData: a real file, and files by the specification of its format on disk, made dense by SciPy for comparison."""

import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array, random_array

from hvd_ae.data.formats import sparse
from hvd_ae.data.source import LABELS, SAMPLES
from hvd_ae.errors import Refused
from tests.unit.data.formats import assert_holds, opened
from tests.unit.data.test_data_damage import damaged

PBMC = Path(__file__).parents[2] / "data/scanpy/10x_pbmc68k_reduced.h5ad"
CHANCE = np.random.default_rng(8)
COUNTS = np.round(random_array((200, 30), density=0.2, rng=CHANCE, format="csr") * 50).astype(np.float32)
DENSE = COUNTS.toarray()
TYPES = CHANCE.integers(3, size=200).astype(np.int8)
NAMES = ("T", "B", "NK")  # in the order of the categories


def sparse_group(file, name, matrix, kind="csr_matrix", **given):
    group = file.create_group(name)
    group.attrs.update({"encoding-type": kind, "encoding-version": "0.1.0", "shape": np.array(matrix.shape)})
    for part in ("data", "indices", "indptr"):
        group.create_dataset(part, data=getattr(matrix, part), **given)
    return group


def category(group, name, codes, names=NAMES):
    column = group.create_group(name)
    column.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
    column["codes"], column["categories"] = codes, np.array(names, object)


def cells(path):
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        file["X"] = DENSE
        sparse_group(file, "layers/counts", COUNTS, chunks=True, compression="gzip")
        sparse_group(file, "layers/columns", csc_array(COUNTS), "csc_matrix")
        sparse_group(file, "layers/whole", COUNTS.astype(np.int64))
        file["obsm/pca"] = DENSE[:, :5].astype(np.float64)
        obs = file.create_group("obs")
        category(obs, "cell_type", TYPES)
        codes = TYPES.copy()
        codes[7] = -1
        category(obs, "some", codes)
        obs["donor"] = np.array(["d2", "d1"], object)[TYPES % 2]
        obs["depth"] = DENSE.sum(axis=1)
        obs["old"] = TYPES
        obs["__categories/old"] = np.array(NAMES, object)
        for name, mask in (("known", np.zeros(200, bool)), ("unknown", TYPES == 1)):
            obs[f"{name}/values"], obs[f"{name}/mask"] = TYPES.astype(np.int64), mask
    return path


def test_a_real_file_of_scanpy():
    with h5py.File(PBMC) as file:
        values, raw, table = file["X"][()], file["raw.X"], file["obs"][()]
        counts = csr_array((raw["data"][()], raw["indices"][()], raw["indptr"][()]), (700, 765)).toarray()
    source = opened(PBMC, beside={LABELS: "obs/bulk_labels", "targets": "raw.X", "condition": "obs/n_counts"})
    assert_holds(source, values)
    assert_holds(source, counts, "targets")
    assert_holds(source, table["n_counts"], "condition")
    assert_holds(source, table["bulk_labels"].astype(np.int64), LABELS)
    assert source.fields[LABELS].names[5:7] == ("CD14+ Monocyte", "CD19+ B")
    # as scanpy's documentation and its data have it: dendritic cells are the most frequent of ten kinds
    assert np.bincount(source.read_all(LABELS)).argmax() == source.fields[LABELS].names.index("Dendritic")
    assert_holds(opened(f"{PBMC}:raw.X"), counts)


@pytest.mark.parametrize("member", ["", ":X", ":/X", ":layers/counts", ":layers/columns", ":layers/whole"])
def test_matrices(tmp_path, member, monkeypatch):
    monkeypatch.setattr(sparse, "bytes_a_block", lambda data_bytes: 4_000)
    monkeypatch.setattr(sparse, "_MOST_BYTES_A_BLOCK", 8_000)
    source = opened(f"{cells(tmp_path / 'a.h5ad')}{member}")
    assert_holds(source, DENSE)
    assert source.reads_single_samples == ("layers" not in member)
    assert len(source.block_starts) > 2 or source.reads_single_samples


def test_a_block_is_a_run_of_rows(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        sparse_group(file, "X", random_array((3000, 1024), density=0.01, rng=CHANCE, format="csr"))
    assert opened(tmp_path / "a.h5ad").block_starts.tolist() == list(range(0, 3000, 32))  # 128 KB once dense


def test_values_of_one_place_are_added_as_scipy_does(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        matrix = csr_array((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), (2, 3))
        sparse_group(file, "X", matrix)
    assert_holds(opened(tmp_path / "a.h5ad"), np.array([[0, 3, 0], [4, 0, 0]], np.float32))


@pytest.mark.parametrize(("column", "labels", "names"), [
    ("cell_type", TYPES, NAMES), ("old", TYPES, NAMES), ("donor", 1 - TYPES % 2, ("d1", "d2")), ("known", TYPES, ()),
])
def test_labels(tmp_path, column, labels, names):
    source = opened(f"{cells(tmp_path / 'a.h5ad')}:layers/counts", beside={LABELS: f"obs/{column}", "targets": "obsm/pca"})
    assert source.fields[LABELS].names == names
    assert_holds(source, labels.astype(np.int64), LABELS)
    assert_holds(source, DENSE[:, :5], "targets")


@pytest.mark.parametrize(("member", "beside", "sentence"), [
    ("Y", {}, r"no matrix 'Y'; it has X \(200, 30\), .*layers/columns \(200, 30\) csc, .* obsm/pca \(200, 5\): write which"),
    ("obs", {}, "no matrix 'obs'"), ("obs/depth", {}, "samples need a first dimension"),
    ("obs/donor", {}, "text"),
    ("X", {LABELS: "obs/batch"}, "no column 'batch' in obs; it has cell_type, depth, donor"),
    ("X", {LABELS: "obs/some"}, r"no category to some cells \(code -1\): leave those out, with adata\[.*'some'\].notna"),
    ("X", {LABELS: "obs/unknown"}, "obs/unknown has no value for some cells"),
    ("X", {LABELS: "obs/depth"}, "one whole number, or one text"), ("X", {LABELS: "X"}, "one whole number, or one text"),
    ("X", {"condition": "obs/cell_type"}, "condition='obs/cell_type' holds categories"),
    ("X", {"condition": "obs/donor"}, "where real numbers are needed"),
    ("X", {"targets": "other"}, r"targets='other' has shape \(10, 30\), where there are 200 samples"),
    ("broken", {}, "no whole HDF5 file .*do not fit"), ("short", {}, "no whole HDF5 file .*201 rows with"),
])
def test_what_is_refused(tmp_path, member, beside, sentence):
    path = cells(tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        sparse_group(file, "other", COUNTS[:10])
        sparse_group(file, "short", COUNTS).attrs["shape"] = np.array([201, 30])
        del sparse_group(file, "broken", COUNTS)["indices"]
        file["broken/indices"] = np.zeros(3, np.int32)
    with pytest.raises(Refused, match=sentence):
        opened(f"{path}:{member}", beside=beside)


def test_a_matrix_by_columns_that_does_not_fit_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sparse, "_BYTES_IN_MEMORY", 1000)
    with pytest.raises(Refused, match=r"stored by columns .CSC.*adata.X.tocsr\(\)"):
        opened(f"{cells(tmp_path / 'a.h5ad')}:layers/columns")


@pytest.mark.parametrize(("part", "position", "value"), [
    ("indices", 50, 30), ("indices", 50, -1), ("indptr", 3, 10**9), ("indptr", 3, -5), ("indptr", 200, 10**9),
])
def test_a_matrix_that_points_outside_of_itself(tmp_path, part, position, value):
    path = cells(tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        file[f"layers/counts/{part}"][position] = value
    source = opened(f"{path}:layers/counts")
    with pytest.raises(Refused, match="cannot be read in samples 0 to .*(column outside|do not ascend|beyond the values)"):
        source.read_block(0, [SAMPLES])


def test_a_file_replaced_while_it_is_open(tmp_path):
    path = cells(tmp_path / "a.h5ad")
    source = opened(f"{path}:layers/counts")
    cells(tmp_path / "b.h5ad").rename(path)
    with pytest.raises(Refused, match="a.h5ad has changed since this run opened it"):
        source.read_block(0, [SAMPLES])


@pytest.mark.parametrize("member", ["X", "layers/counts", "layers/columns"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, member):
    path, chance, refusals = cells(tmp_path / "a.h5ad"), random.Random(9), 0
    content = path.read_bytes()
    for _ in range(60):
        path.write_bytes(damaged(content, chance))
        try:
            source = opened(f"{path}:{member}", beside={LABELS: "obs/cell_type"})
            source.read(np.array([0, source.count - 1]), list(source.fields))
        except Refused as refusal:
            refusals += 1
            assert str(path) in str(refusal) and "\n" not in str(refusal)
    assert 5 < refusals < 60
