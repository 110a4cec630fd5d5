"""How large blocks are where a format leaves that open.

What lies together in a file is often alike (sorted by class, or in the order of time), so that a window of few blocks holds
few kinds of samples: Fashion-MNIST sorted by class, in windows of 4 of 47 blocks, ended at 1.23 times the error of a uniform
order. So little data are cut finer. A function of the data alone, as the order of samples has to be (law 5).
"""

_BLOCKS = 2048  # at least, down to the least size
_LEAST = 128 << 10  # bytes; of less than that, finding a block and beginning to read it would cost more than decoding it


def bytes_a_block(data_bytes: int, most: int = 1 << 20) -> int:
    """About so many bytes of such data are to be read and decoded at once, and at most so many."""
    return min(most, max(_LEAST, data_bytes // _BLOCKS))
