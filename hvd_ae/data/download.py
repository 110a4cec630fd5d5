"""The named data sets that come as files: where they are looked for, their checksums, and their download."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.data.formats.idx import read_pair
from hvd_ae.data.source import Splits
from hvd_ae.errors import Refused

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Published:
    """A file as its makers published it."""

    name: str  # unpacked
    gz_sha256: str  # of the makers' .gz: what a download must be
    sha256: str  # of the unpacked content: what any copy must be; Debian's package, for one, packed the files anew


_URLS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
}
# Training images and labels, then test images and labels.
_FILES = {
    "mnist": (
        Published("train-images-idx3-ubyte",
                  "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                  "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        Published("train-labels-idx1-ubyte",
                  "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                  "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        Published("t10k-images-idx3-ubyte",
                  "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                  "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        Published("t10k-labels-idx1-ubyte",
                  "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                  "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
    "fashion-mnist": (
        Published("train-images-idx3-ubyte",
                  "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                  "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        Published("train-labels-idx1-ubyte",
                  "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                  "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        Published("t10k-images-idx3-ubyte",
                  "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                  "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        Published("t10k-labels-idx1-ubyte",
                  "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                  "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
}
NAMES = tuple(_FILES)


def knows(name: str) -> bool:
    return name in NAMES


def load(name: str, seed: int) -> Splits:
    """The data set's own training and test samples, from where it lies on this node.

    Raises:
        Refused: it is nowhere, or a file is damaged.
    """
    folders = search_folders(name)
    files = find_files(name, folders)
    if files is None:
        raise Refused(f"data={name!r} is in none of {', '.join(map(str, folders))} on this node: put its four .gz "
                      "files into one of them, or name their folder in HVD_AE_DATA")
    return Splits(read_pair(name, *files[:2]), read_pair(name, *files[2:]))


def search_folders(name: str, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where the files of a named data set may lie, in the order they are looked for."""
    folders = []
    if environ.get("HVD_AE_DATA"):
        folders += [Path(environ["HVD_AE_DATA"]) / name, Path(environ["HVD_AE_DATA"])]
    folders.append(cache_folder(environ) / name)
    return [*folders, Path("/usr/share/datasets") / name]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The user's own folder for downloads."""
    return Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".cache") / "hvd_ae/data"


def find_files(name: str, folders: Sequence[Path]) -> list[tuple[Path, str]] | None:
    """Paths, .gz or unpacked, and SHA-256 of the content: training images and labels, then test images and labels.

    All files come from one folder; None without a folder that has them all.
    """
    for folder in folders:
        found = [_first_existing(folder, file.name) for file in _FILES[name]]
        if all(found):
            return [(path, file.sha256) for path, file in zip(found, _FILES[name], strict=True)]
    return None


def _first_existing(folder: Path, file: str) -> Path | None:
    paths = (folder / f"{file}.gz", folder / file)
    return next((path for path in paths if path.is_file()), None)


def ensure_downloaded(name: str, environ: Mapping[str, str] = os.environ, base_url: str | None = None) -> None:
    """Download a named data set into the user's cache where it is found nowhere; one rank per node calls this.

    Files appear under their names only when they are whole and have the right SHA-256. Nodes that share the cache may
    download at the same time: each moves its own temporary file into place. Any other name or path passes by.

    Raises:
        Refused: it cannot be had; says where to put the files by hand.
    """
    if name not in NAMES or find_files(name, folders := search_folders(name, environ)):
        return
    import pooch

    folder = cache_folder(environ) / name
    for file in _FILES[name]:
        url = f"{base_url or _URLS[name]}{file.name}.gz"
        try:
            pooch.retrieve(url, f"sha256:{file.gz_sha256}", f"{file.name}.gz", folder, downloader=_fetch)
        except (OSError, ValueError) as error:
            raise Refused(f"data={name!r} is in none of {', '.join(map(str, folders))}, and {url} could not be "
                          f"downloaded ({_reason(error)}): put its four .gz files into {folder} by hand, or name their "
                          "folder in HVD_AE_DATA") from None


def _fetch(url: str, target: str, _pooch: object = None) -> None:
    """Write what is at `url` to a file; unlike pooch's own downloader, a failure leaves no connection open."""
    import requests
    from tqdm import tqdm

    with requests.get(url, stream=True, timeout=_TIMEOUT_SECONDS) as answer:
        answer.raise_for_status()
        length = int(answer.headers.get("Content-Length", 0)) or None
        is_hidden = not sys.stderr.isatty()
        with open(target, "wb") as file, tqdm(total=length, unit="B", unit_scale=True, disable=is_hidden) as bar:
            for piece in answer.iter_content(1 << 16):
                bar.update(file.write(piece))


def _reason(error: Exception) -> str:
    """Why a download failed, in words; requests' exceptions are OSErrors, pooch's wrong checksum is a ValueError."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_TIMEOUT_SECONDS} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "it ended too early"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError):
        return "its SHA-256 is not the published one"
    return getattr(error, "strerror", None) or type(error).__name__
