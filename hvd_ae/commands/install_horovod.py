"""`hvd-ae install-horovod`; what it does stands in `hvd_ae/install/`."""

from hvd_ae.install.horovod import install_horovod as build
from hvd_ae.settings.commands import InstallHorovodSettings


def install_horovod(settings: InstallHorovodSettings) -> None:
    build(gpu=settings.gpu, mpi_home=settings.mpi_home)
