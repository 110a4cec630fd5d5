"""The jobs in which `make test` runs the tests of `on_ranks/`. A test names those it takes part in with a marker:

    @pytest.mark.jobs("mpi-3", "horovod-2")

and, where it does not apply to every engine or number of ranks, `@pytest.mark.engines("mpi")` or `@pytest.mark.ranks(2, 4)`.

What strategies compute is the same code for both engines and is shown through MPI: the laws on three ranks, whose parts are
unequal and whose sums are no plain halves; what is no matter of the ranks' number, such as exact resumption, on two, at two
thirds of the cost; what needs a power of two, or two nodes of two, on four. What an engine's own operations decide is shown
through Horovod too, on two ranks: more are slow on few cores, where every rank has Horovod's thread beside it.
"""

# engine and number of ranks by name; the largest first, so that what fails anywhere fails early
JOBS = {f"{engine}-{ranks}": (engine, ranks) for engine, ranks in (
    ("mpi", 3), ("mpi", 2), ("mpi", 4), ("horovod", 2), ("horovod", 3), ("single", 1))}

LEFT_TO_SOAK = ("horovod-3",)  # collectives, which two ranks show through Horovod, and three through MPI

DEFAULT = ("mpi-3", "horovod-2")
