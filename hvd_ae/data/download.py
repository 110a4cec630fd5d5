"""The named data sets that come as files: where they are looked for, their checksums, and their download."""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hvd_ae.errors import Refused

_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# SHA-256 of the gzipped files, in the order of _FILES. Fashion-MNIST's are those of Debian's package too.
_SHA256 = {
    "mnist": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion-mnist": (
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ),
}
_URLS = {"mnist": _MNIST, "fashion-mnist": _FASHION}
NAMES = tuple(_URLS)


def search_folders(name: str, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where the files of a named data set may lie, in the order they are looked for."""
    folders = []
    if environ.get("HVD_AE_DATA"):
        folders += [Path(environ["HVD_AE_DATA"]) / name, Path(environ["HVD_AE_DATA"])]
    folders.append(cache_folder(environ) / name)
    return [*folders, Path("/usr/share/datasets") / name]


def cache_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hvd_ae" / "data"


def find_files(name: str, folders: list[Path] | None = None) -> list[Path] | None:
    """Training images and labels, then test images and labels, all from one folder; None where there are none.

    Raises:
        Refused: a gzipped file does not have the published SHA-256.
    """
    for folder in search_folders(name) if folders is None else folders:
        found = [_first_existing(folder, file) for file in _FILES]
        if all(found):
            for path, expected in zip(found, _SHA256[name]):
                _check_sum(path, expected)
            return found
    return None


def _first_existing(folder: Path, file: str) -> Path | None:
    paths = (folder / f"{file}.gz", folder / file)
    return next((path for path in paths if path.exists()), None)


def _check_sum(path: Path, expected: str) -> None:
    if path.suffix != ".gz":
        return  # unpacked by someone: there is no published sum to hold it against
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise Refused(f"{path} has SHA-256 {actual[:16]}... where {expected[:16]}... is published: delete it, and fetch "
                      "it anew")


def ensure_downloaded(name: str, environ: Mapping[str, str] = os.environ, base_url: str | None = None) -> None:
    """Download a named data set into the user's cache where it is found nowhere; one rank per node calls this.

    Files appear under their names only when they are whole and have the right SHA-256.

    Raises:
        Refused: it cannot be had; says where to put the files by hand.
    """
    folders = search_folders(name, environ) if name in NAMES else []
    if name not in NAMES or find_files(name, folders):
        return
    import pooch

    folder, url = cache_folder(environ) / name, base_url or _URLS[name]
    for file, expected in zip(_FILES, _SHA256[name]):
        try:
            pooch.retrieve(f"{url}{file}.gz", f"sha256:{expected}", f"{file}.gz", folder,
                           downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30))
        except (OSError, ValueError) as error:  # requests' own exceptions are OSErrors, pooch's wrong sum a ValueError
            reason = "its SHA-256 is wrong" if isinstance(error, ValueError) else type(error).__name__
            raise Refused(f"data={name!r} was not found in {', '.join(map(str, folders))}, and {url}{file}.gz could not be "
                          f"downloaded ({reason}): put the four .gz files into {folder} by hand") from None
