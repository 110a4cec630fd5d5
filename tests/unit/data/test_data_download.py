"""Downloads, from a real HTTP server on this machine."""

import gzip
import hashlib
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data import download
from hvd_ae.data.download import Published, cache_folder, ensure_downloaded, find_files, search_folders
from hvd_ae.data.load import load
from hvd_ae.data.source import LABELS, SAMPLES
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append(self.path)
        if "t10k-images" in self.path and self.server.cuts_short:
            content = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            return
        super().do_GET()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with a small MNIST, whose checksums stand in for the real ones; and a home without any data."""
    folder = tmp_path / "served"
    folder.mkdir()
    arrays = [np.arange(n * 4).reshape(n, 2, 2) if "images" in name else np.arange(n)
              for name, n in zip(NAMES, (20, 20, 5, 5), strict=True)]
    published = []
    for name, array in zip(NAMES, arrays, strict=True):
        content = idx(array)
        packed = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(packed)
        published.append(Published(name, hashlib.sha256(packed).hexdigest(), hashlib.sha256(content).hexdigest()))
    monkeypatch.setitem(download._FILES, "mnist", tuple(published))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HVD_AE_DATA", raising=False)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    http.requests, http.cuts_short, http.folder = [], False, folder
    http.cache = tmp_path / "cache" / "hvd_ae" / "data" / "mnist"
    http.url = f"http://127.0.0.1:{http.server_address[1]}/"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def test_what_is_downloaded_is_found_and_not_downloaded_again(server):
    ensure_downloaded("mnist", base_url=server.url)
    assert server.requests == [f"/{name}.gz" for name in NAMES]
    assert sorted(path.name for path in server.cache.iterdir()) == sorted(f"{name}.gz" for name in NAMES)
    ensure_downloaded("mnist", base_url=server.url)
    assert len(server.requests) == 4
    source = load("mnist", World())
    assert (source.train.count, source.validation.count) == (20, 5)
    assert source.train.read_all(SAMPLES)[3].tolist() == [[12, 13], [14, 15]]
    assert source.validation.read_all(LABELS).tolist() == [0, 1, 2, 3, 4]


def refusal(server, url=None):
    with pytest.raises(Refused) as refused:
        ensure_downloaded("mnist", base_url=url or server.url)
    sentence = str(refused.value)
    assert str(server.cache) in sentence.split("put its four .gz files into")[1]
    assert "HVD_AE_DATA" in sentence
    assert "\n" not in sentence
    # nothing half-made stays behind
    whole = {f"{name}.gz" for name in NAMES}
    assert not server.cache.exists() or {path.name for path in server.cache.iterdir()} < whole
    return sentence


def test_a_wrong_checksum_is_refused(server):
    (server.folder / f"{NAMES[1]}.gz").write_bytes(gzip.compress(b"other labels"))
    assert "its SHA-256 is not the published one" in refusal(server)
    assert [path.name for path in server.cache.iterdir()] == [f"{NAMES[0]}.gz"]


def test_a_body_cut_short_is_refused_and_the_next_attempt_goes_on_from_there(server):
    server.cuts_short = True
    assert "it ended too early" in refusal(server)
    server.cuts_short = False
    server.requests.clear()
    ensure_downloaded("mnist", base_url=server.url)
    assert server.requests == [f"/{name}.gz" for name in NAMES[2:]]
    assert load("mnist", World()).validation.count == 5


def test_a_file_that_is_not_there_and_a_server_that_is_not_there_are_refused(server):
    (server.folder / f"{NAMES[0]}.gz").unlink()
    assert "the server answered 404" in refusal(server)
    assert "no connection" in refusal(server, "http://127.0.0.1:9/")


def test_a_cache_that_cannot_be_written_is_refused(server, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(Refused, match="could not be downloaded"):
        ensure_downloaded("mnist", base_url=server.url)


def test_files_of_another_data_set_are_refused(server, tmp_path, monkeypatch):
    ensure_downloaded("mnist", base_url=server.url)
    (server.cache / f"{NAMES[3]}.gz").write_bytes(gzip.compress(idx(np.arange(5) + 1)))
    with pytest.raises(Refused, match=f"content of .*{NAMES[3]}.gz has SHA-256 .* is published: fetch it anew"):
        load("mnist", World())


@pytest.mark.parametrize("data", ["digits", "synthetic:4x4", "some/file.npy", "nonsense"])
def test_other_data_are_not_downloaded(server, data):
    ensure_downloaded(data, base_url=server.url)
    assert server.requests == []


def test_folders_are_searched_in_order_and_only_whole_sets_count(tmp_path):
    environ = {"HVD_AE_DATA": str(tmp_path / "given"), "HOME": str(tmp_path / "home")}
    folders = search_folders("mnist", environ)
    assert folders == [tmp_path / "given" / "mnist", tmp_path / "given", tmp_path / "home/.cache/hvd_ae/data/mnist",
                       Path("/usr/share/datasets/mnist")]
    assert cache_folder({**environ, "XDG_CACHE_HOME": "/elsewhere"}) == Path("/elsewhere/hvd_ae/data")
    assert find_files("mnist", folders) is None
    for folder, names in ((folders[0], NAMES[:3]), (folders[1], NAMES), (folders[2], NAMES)):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).touch()  # unpacked files count as well
    assert [path.parent for path, _ in find_files("mnist", folders)] == [folders[1]] * 4


def test_nowhere_to_be_found_names_where_it_was_looked_for(server):
    with pytest.raises(Refused, match=f"'mnist' is in none of {server.cache}, .*HVD_AE_DATA"):
        load("mnist", World())


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").exists(), reason="needs dataset-fashion-mnist")
def test_debians_fashion_mnist_is_the_published_one(tmp_path, monkeypatch):
    """Debian packed the files anew, without their names in the header: only what is in them is the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HVD_AE_DATA", raising=False)
    ensure_downloaded("fashion-mnist", base_url="http://127.0.0.1:9/")
    source = load("fashion-mnist", World())
    assert source.train.read_all(SAMPLES).shape == (60_000, 28, 28)
    assert np.bincount(source.validation.read_all(LABELS)).tolist() == [1000] * 10
    assert source.train.read_all(SAMPLES).mean() / 255 == pytest.approx(0.2860, abs=5e-5)  # as widely published
