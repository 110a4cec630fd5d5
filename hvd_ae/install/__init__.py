"""Builds Horovod for exactly the TensorFlow and the MPI that are in the running environment."""

from hvd_ae.install.horovod import install_horovod

__all__ = ["install_horovod"]
