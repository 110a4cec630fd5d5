"""An environment for each MPI, kept in the folder that HVD_AE_MPIS names; without one these tests are left out."""

import os
from pathlib import Path

import pytest

from tests.mpis.environments import KINDS, Environment, missing
from tests.slurm.conftest import slurm  # noqa: F401  (a fixture)


@pytest.fixture(scope="session", params=KINDS)
def mpi(request) -> Environment:
    folder = os.environ.get("HVD_AE_MPIS")
    if folder is None:
        pytest.skip("builds Horovod for five MPIs: `make test-mpis` runs it")
    if missing(request.param):
        pytest.skip(missing(request.param))
    return Environment(request.param, Path(folder).absolute())
