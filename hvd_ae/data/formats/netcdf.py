"""NetCDF files, `cam.nc:T`: NetCDF-4 is HDF5 and read so; NetCDF-3 through SciPy, memory-mapped.

Never the netCDF4 package: it brings a second HDF5 library into the process, beside h5py's.
"""

from pathlib import Path

from hvd_ae.data.formats import hdf5, netcdf3
from hvd_ae.data.source import Source
from hvd_ae.data.spec import Spec
from hvd_ae.errors import Refused


def reads(path: Path) -> bool:
    return path.suffix == ".nc"


def read(spec: Spec) -> Source:
    """Samples of a variable whose first dimension counts them.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    try:
        with open(spec.path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise Refused(f"data={spec.name!r} cannot be read ({error.strerror}): check the path") from None
    if magic[:3] != b"CDF":
        return hdf5.read(spec)
    if magic[3:] not in (b"\1", b"\2"):
        raise Refused(f"data={spec.name!r} is NetCDF-3 of kind {magic[3:].hex()}, where 1 and 2 can be read: convert it with "
                      "nccopy -k nc4")
    return netcdf3.read(spec)
