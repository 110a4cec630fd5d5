"""Collectives on flat vectors; with `install/` the only place that imports horovod or mpi4py."""
