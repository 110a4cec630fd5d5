"""Imports TensorFlow as every rank should have it: without a page of log lines, and giving memory back."""

import contextlib
import ctypes
import os
import sys
import tempfile

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def import_tensorflow() -> None:
    """Import TensorFlow, holding back what its libraries write to file descriptor 2 meanwhile.

    TensorFlow 2.21 writes them before it reads any setting of its own log level. They are shown after all when the
    import fails.
    """
    if "tensorflow" in sys.modules:
        return
    _choose_allocator()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # later lines; what matters comes as an exception
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            import tensorflow

            tensorflow.get_logger().setLevel("ERROR")  # such as that each way of averaging traces graphs of its own
        except BaseException:
            held_back.seek(0)
            os.write(kept, held_back.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _choose_allocator() -> None:
    """The C library's instead of TensorFlow's own, which never gives memory back and leaves half of it unused.

    With a vector of 240 MB, Adam and two ranks the peak was 8.0 vectors with TensorFlow's own and is 5.7. Large blocks go
    back at once; those below 32 MB, the most that glibc allows, are kept, since fresh pages cost time: the model `deep`
    trains as fast as with TensorFlow's own (measured in turns), and without this some per cent slower.
    """
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    with contextlib.suppress(AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
