"""A way gives back what it took, however its training ends, except where that could wait for a rank that never comes."""

from collections.abc import Iterator
from contextlib import contextmanager

from hvd_ae.averaging.strategy import Strategy


@contextmanager
def closing(strategy: Strategy) -> Iterator[None]:
    """Close the way at the end of the context, and after a failure that all ranks share (every rank enters it).

    Closing is collective: after a failure of one rank alone it would hang, and the job is about to end anyway.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "agreed", False):
            strategy.close()
        raise
    strategy.close()
