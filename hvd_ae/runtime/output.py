"""What is printed goes on being accepted when nobody reads it any more: `hvd-ae train | head` ends output, not the run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Unbroken:
    """A text stream that throws away what it is given once the reader has gone."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._to_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._to_nowhere()

    def _to_nowhere(self) -> None:
        """The descriptor itself, since Python writes what is left in its buffer once more as it ends, as libraries do."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextmanager
def unbroken_output() -> Iterator[None]:
    """While the context lasts, a reader of standard output or error may leave."""
    before = sys.stdout, sys.stderr
    streams = [stream if stream is None else _Unbroken(stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in filter(None, streams):
            stream.flush()
        sys.stdout, sys.stderr = before
