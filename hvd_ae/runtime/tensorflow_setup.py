"""Imports TensorFlow as every rank should have it: soon, without a page of log lines, and giving memory back."""

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Iterator

from hvd_ae.errors import Refused
from hvd_ae.runtime.deferred_import import deferred

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

# What of Keras imports scikit-learn and Matplotlib where they are installed: a quarter of the seconds that TensorFlow and
# Keras take together, on every rank, for functions that few ever call.
_SELDOM_USED = tuple(f"{keras}.{name}" for keras in ("keras", "keras._tf_keras.keras", "keras.src")
                     for name in ("visualization", "wrappers"))


def import_tensorflow() -> None:
    """Import TensorFlow, holding back what its libraries write to file descriptor 2 meanwhile.

    TensorFlow 2.21 writes them before it reads any setting of its own log level. They are shown after all when the
    import fails, also where it ends the process, as it does on a CPU that it was not built for.

    Raises:
        Refused: Keras runs already, and not on TensorFlow.
    """
    _choose_backend()
    if "tensorflow" in sys.modules:
        return
    _choose_allocator()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # later lines; what matters comes as an exception
    with _held_back(), deferred(_SELDOM_USED), _garbage_left_alone():
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")  # such as that each strategy traces graphs of its own


def _choose_backend() -> None:
    """Keras takes its backend once, from this variable or from a file in the home directory: here it has to be TensorFlow."""
    if "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
        if backend != "tensorflow":
            raise Refused(f"Keras runs on {backend!r} already, and this package needs 'tensorflow': import hvd_ae before "
                          "keras, or set KERAS_BACKEND=tensorflow")
    os.environ["KERAS_BACKEND"] = "tensorflow"


@contextlib.contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """Look for no garbage meanwhile, nor ever again among what the context has left: modules stay as long as the process.

    Else each full collection goes through a million of their objects, which costs a second by the end of the first epoch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """What is written to file descriptor 2 is thrown away, unless the context ends by an exception, or the process does.

    A shell holds it, in a session of its own so that a launcher that clears up does not end it too: it writes when the
    other end of the pipe closes, for whatever reason.
    """
    if sys.stderr:
        sys.stderr.flush()
    incoming, outgoing = os.pipe()
    try:
        holder = subprocess.Popen(["/bin/sh", "-c", 'held=$(cat); [ -z "$held" ] || printf "%s\\n" "$held" >&2'],
                                  stdin=incoming, start_new_session=True)
    except OSError:  # without a shell nothing is held back
        os.close(outgoing)
        yield
        return
    finally:
        os.close(incoming)
    kept = os.dup(2)
    os.dup2(outgoing, 2)
    os.close(outgoing)
    try:
        yield
        holder.kill()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        with contextlib.suppress(subprocess.TimeoutExpired):  # something that TensorFlow has started holds the pipe
            holder.wait(5)


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
