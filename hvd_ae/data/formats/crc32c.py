"""CRC32C, the checksum of TFRecord files, of many records at once by NumPy: Python has none, and a byte at a time is too slow.

A checksum is the remainder of the message, as a polynomial over the two-element field, divided by P of degree 32. There
P(x)**2 = P(x**2), so P(x**32), of whole 32-bit words, is a multiple of P too, and so are P(x**64), P(x**128), ...: the first
words of a message may be replaced by copies of them further on, all records side by side, until 32 are left.
"""

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's without x**32, the highest power in the lowest bit, as is the message's first bit
# By how many words the copies of a word lie further on, the last being the degree: of a multiple of P that has few terms,
# x**209 + x**144 + x**54 + x**39 + x**14 + 1, and of P itself.
_FEW = [65, 155, 170, 195, 209]
_ALL = [place + 1 for place in range(32) if _POLYNOMIAL >> place & 1]
_BEFORE = np.frombuffer(b"\x54\x64\x1f\x64", np.uint8)  # brings a register from zero to all ones


def _tables() -> np.ndarray:
    """(4, 256): the remainder of a byte that is followed by 0, 1, 2, 3 others."""
    tables = np.zeros((4, 256), np.uint32)
    tables[0] = np.arange(256)
    for _ in range(8):
        tables[0] = tables[0] >> 1 ^ (tables[0] & 1) * np.uint32(_POLYNOMIAL)
    for place in range(1, 4):
        tables[place] = tables[0][tables[place - 1] & 255] ^ tables[place - 1] >> 8
    return tables


_TABLES = _tables()


def masked(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The masked checksum, as TFRecord files hold it, of each of these stretches of bytes: uint32."""
    sums = np.empty(len(lengths), np.uint32)
    doublings = np.frexp(lengths)[1]
    for doubling in np.unique(doublings):  # so that the shorter ones fill at most half of their rows with zeros
        group = np.flatnonzero(doublings == doubling)
        width = int(lengths[group].max()) + len(_BEFORE)
        width += -width % 4
        rows = np.zeros((len(group), width), np.uint8)  # zeros before a message leave no remainder
        for length in np.unique(lengths[group]):
            same = np.flatnonzero(lengths[group] == length)
            rows[same, width - length - len(_BEFORE) : width - length] = _BEFORE
            if length:
                rows[same, width - length :] = np.lib.stride_tricks.sliding_window_view(data, length)[starts[group[same]]]
        sums[group] = ~_remainders(np.ascontiguousarray(rows.view("<u4").T, np.uint32))
    return (sums >> 15 | sums << 17) + np.uint32(0xA282EAD8)


def _remainders(words: np.ndarray) -> np.ndarray:
    """Of messages (words, messages), which are overwritten."""
    first, count = 0, len(words)
    for copies in (_FEW, _ALL):
        nearest, degree = copies[0], copies[-1]
        while count - first > degree:
            stride = 1 << ((count - first - 1) // degree).bit_length() - 1  # the largest with all copies within the message
            taken = min(nearest * stride, count - first - degree * stride)
            for copy in copies:
                words[first + copy * stride : first + copy * stride + taken] ^= words[first : first + taken]
            first += taken
    remainder = np.zeros(words.shape[1], np.uint32)
    for word in words[first:]:
        remainder ^= word
        low, second, third, high = (remainder >> shift & 255 for shift in (0, 8, 16, 24))
        remainder = _TABLES[3][low] ^ _TABLES[2][second] ^ _TABLES[1][third] ^ _TABLES[0][high]
    return remainder
