"""The Horovod sources: fetched from the package index by pip, checked, unpacked and edited."""

import hashlib
import os
import sys
import tarfile
from pathlib import Path

from hvd_ae.install.edits import Edit
from hvd_ae.install.steps import StepFailed, run_step, say

HOROVOD_VERSION = "0.28.1"
SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
ARCHIVE = f"horovod-{HOROVOD_VERSION}.tar.gz"


def fetch(folder: Path, log: Path) -> Path:
    """The source archive in `folder`: the one that is there, or else downloaded.

    Raises:
        StepFailed: it could not be downloaded, or is not the file that was released.
    """
    archive = folder / ARCHIVE
    if not archive.is_file():
        say(f"fetching the sources of Horovod {HOROVOD_VERSION}")
        _download(folder, log)
    found = hashlib.sha256(archive.read_bytes()).hexdigest() if archive.is_file() else "nothing"
    if found != SHA256:
        archive.unlink(missing_ok=True)
        raise StepFailed(f"{archive} has SHA-256 {found} instead of {SHA256}: it was removed; run this again")
    return archive


def _download(folder: Path, log: Path) -> None:
    """pip knows the index that this machine uses, and checks the hash before it runs what is inside."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"horovod=={HOROVOD_VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"]
    command += ["--no-build-isolation", "--require-hashes", "--dest", str(folder)]
    command += ["--requirement", str(wanted)]
    # pip looks at the metadata, and Horovod's set-up script wants to know what not to look for.
    env = {**os.environ, "HOROVOD_WITHOUT_PYTORCH": "1", "HOROVOD_WITHOUT_MXNET": "1"}
    run_step(f"pip could not fetch the sources of Horovod {HOROVOD_VERSION}", command, log, env)


def unpack(archive: Path, folder: Path, changes: tuple[Edit, ...]) -> Path:
    """Unpack into the empty `folder`, apply the changes, and give back the folder to build in.

    Always a fresh one: a build folder that is used again keeps the MPI that CMake found the first time.
    """
    with tarfile.open(archive) as tar:
        # Python 3.11.2 (Debian 12) knows no filters yet; what is unpacked was checked against its hash.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        tar.extractall(folder)
    source = folder / f"horovod-{HOROVOD_VERSION}"
    for change in changes:
        change.apply(source)
    return source
