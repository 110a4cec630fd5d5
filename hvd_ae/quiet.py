"""Imports TensorFlow without the page of log lines that it writes on every rank, before the first line of ours."""

import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Import TensorFlow, holding back what its libraries write to file descriptor 2 meanwhile.

    TensorFlow 2.21 writes them before it reads any setting of its own log level. They are shown after all when the
    import fails.
    """
    if "tensorflow" in sys.modules:
        return
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
