"""Of what a run stands on."""

from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str | None]:
    """By package; None where it is not installed."""
    found = {}
    for package in ("hvd_ae", "tensorflow", "keras", "numpy", "mpi4py", "horovod", "mpich"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
