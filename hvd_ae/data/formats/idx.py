"""IDX files, the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist/), plain or gzipped."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import LABELS, Source
from hvd_ae.data.spec import Spec, check_labels, check_sample_kind
from hvd_ae.errors import Refused

HAS_MEMBERS = False  # a file is one array
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def reads(path: Path) -> bool:
    return path.name.endswith(("-ubyte", "-ubyte.gz"))


def files(path: Path) -> list[Path]:
    """All that is read for this path, whether or not it is there."""
    return [path, path.with_name(path.name.replace("images-idx3", "labels-idx1"))]


def read(spec: Spec) -> Source:
    """Samples of a file of images, with the labels of the file of labels where that lies beside it.

    Raises:
        Refused: a file is missing or damaged, or does not hold samples.
    """
    path, labels = files(spec.path)
    has_labels = LABELS not in spec.beside and labels != path and labels.exists()
    return read_pair(spec.name, (path, None), (labels, None) if has_labels else None)


def read_pair(name: str, images: tuple[Path, str | None], labels: tuple[Path, str | None] | None) -> Source:
    """Samples of a file of images and, where there is one, a file of labels, each with its SHA-256 if it is known."""
    values = read_idx(*images)
    check_sample_kind(values.shape, values.dtype, name)
    if labels is None:
        return from_arrays(name, values)
    of_each = read_idx(*labels)
    if len(values) != len(of_each):
        raise Refused(f"{images[0]} holds {len(values)} images but {labels[0]} {len(of_each)} labels: fetch both anew")
    return from_arrays(name, values, check_labels(of_each, len(values), str(labels[0])))


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """The array of an IDX file, in the machine's byte order.

    Args:
        sha256: of the unpacked content, where it is known; whoever packed the file does not matter then.

    Raises:
        Refused: the file is missing, truncated, corrupt, no IDX file, or has another checksum.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except gzip.BadGzipFile as error:
        raise Refused(f"{path} is no good gzip file ({error}): fetch it anew") from None
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}): check the path") from None
    except (EOFError, zlib.error, struct.error) as error:
        raise Refused(f"{path} is a truncated or corrupt gzip file ({error}): fetch it anew") from None
    array = _parse(content, path)
    if sha256 is not None:
        _check_sum(content, sha256, path)
    return array


def _parse(content: bytes, path: Path) -> np.ndarray:
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not content[3]:
        raise Refused(f"{path} begins with {content[:4].hex() or 'nothing'}, which is no IDX magic number (images "
                      "begin with 00000803, labels with 00000801): fetch it anew, or give another path")
    dimensions = content[3]
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise Refused(f"{path} ends within its header: fetch it anew")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    dtype = np.dtype(_TYPES[content[2]])
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - header != expected:
        raise Refused(f"{path} holds {len(content) - header} bytes of data where its header {shape} needs {expected}: "
                      "fetch it anew")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _check_sum(content: bytes, expected: str, path: Path) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise Refused(f"the unpacked content of {path} has SHA-256 {actual[:16]}... where {expected[:16]}... is "
                      "published: fetch it anew, or give other data of this format by path, as --data PATH")
