"""A function of samples over all of them: in fixed blocks by their numbers, the same on any number of ranks.

How a matrix is multiplied depends on how many rows it has, and so do a result's last bits. Here every block has the same
number of samples, the last one being filled up, and which samples are in a block depends on their numbers alone: so do the
bits. Each rank passes a contiguous share, with a block in each of its threads, and reads the next samples meanwhile.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.checks import Range, check_values
from hvd_ae.data.partition import dealt
from hvd_ae.data.source import Source
from hvd_ae.errors import NotWritten
from hvd_ae.runtime.aligned import is_aligned
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.runtime.devices import calls_at_a_time
from hvd_ae.tasks.task import specs_of

_SAMPLES, _BYTES = 1024, 4 << 20  # of a block, at most
_BYTES_READ = 16 << 20  # at a time
_BYTES_OF_UNIT, _READS_OF_UNIT, _UNITS = 16 << 20, 64, 256

Function = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]


@dataclass(frozen=True)
class Unit:
    """Consecutive samples that one rank passes, and writes, at a time.

    outputs: by name, (end - first, *shape) of what the function gave.
    """

    number: int
    first: int
    end: int
    outputs: Mapping[str, np.ndarray]


class Blocks:
    """A function over the samples of a source (every rank makes one).

    Args:
        function: from fields as they are read, each (block, *shape), to named results, each (block, ...); in the graph. A
            sample's results must depend on no other sample. A `tf.function` is not traced twice for the same samples.
        fields: that it is given.
        allowed: by field, the values that are not refused; all finite ones without it.
        batch_size: samples of a block [1,024, or fewer of large samples]; the results' last bits may depend on it.

    shapes: by name, the shape of one sample's result.
    dtypes: by name, its type.
    unit: samples of a unit, which depend on nothing but the data and the results' shapes.
    """

    def __init__(self, function: Function, source: Source, fields: Sequence[str], comm: Communicator,
                 allowed: Mapping[str, Range] | None = None, batch_size: int | None = None):
        self.source, self._fields, self._comm, self._allowed = source, tuple(fields), comm, allowed or {}
        declared = [source.fields[name] for name in fields]
        seen_bytes = sum(4 * math.prod(field.shape) for field in declared)
        self.size = batch_size or max(1, min(_SAMPLES, _BYTES // max(1, seen_bytes)))
        specs = {name: tf.TensorSpec([self.size, *spec.shape[1:]], spec.dtype)
                 for name, spec in specs_of(self._fields, source.fields).items()}
        traced = function if hasattr(function, "get_concrete_function") else tf.function(function)
        self._function = traced.get_concrete_function(specs)
        made = self._function.structured_outputs
        self.shapes = {name: tuple(tensor.shape[1:]) for name, tensor in made.items()}
        self.dtypes = {name: np.dtype(tensor.dtype.as_numpy_dtype) for name, tensor in made.items()}
        bytes_read = max(1, sum(field.bytes_read for field in declared))
        bytes_made = max(1, sum(math.prod(shape) * self.dtypes[name].itemsize for name, shape in self.shapes.items()))
        self._threads = calls_at_a_time()
        self._read_at_once = self.size * max(1, _BYTES_READ // (self.size * bytes_read))
        reads = min(_READS_OF_UNIT, max(1, _BYTES_OF_UNIT // (self._read_at_once * bytes_made)))
        most = math.ceil(source.count / (_UNITS * self.size)) * self.size  # few samples have to do for many ranks, too
        self.unit = min(self._read_at_once * reads, most)

    @property
    def units(self) -> int:
        return math.ceil(self.source.count / self.unit)

    def range_of(self, unit: int) -> tuple[int, int]:
        """The number of a unit's first sample, and of the first one after it."""
        return unit * self.unit, min((unit + 1) * self.unit, self.source.count)

    def each(self, take: Callable[[Unit], None], done: Sequence[int] = (),
             after: Callable[[list[int]], None] = lambda units: None) -> None:
        """Pass all samples (every rank calls it).

        Args:
            take: called with each of this rank's units, in their order.
            done: units that are left out.
            after: called on every rank after each round, in which each rank has had at most one unit, with those units;
                it may communicate.

        Raises:
            Refused: on every rank, where samples cannot be read, or hold values that are not allowed.
            NotWritten: on every rank, where `take` raises it on any.
        """
        shares = self.shares(np.setdiff1d(np.arange(self.units), np.asarray(done, np.int64)))
        mine = shares[self._comm.world.rank]
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
            passed = self._pass(reader, mine)
            for number in range(max(map(len, shares))):
                unit = run_on_all(self._comm, lambda: next(passed, None))
                run_on_all(self._comm, lambda unit=unit: None if unit is None else take(unit), NotWritten)
                after([int(share[number]) for share in shares if number < len(share)])

    def shares(self, units: np.ndarray) -> list[np.ndarray]:
        """Of each rank, its share of these units: consecutive ones, where the format's blocks allow it cut between them."""
        ranks, firsts = self._comm.world.size, units * self.unit
        sizes = np.minimum(firsts + self.unit, self.source.count) - firsts
        starts = np.asarray(self.source.block_starts)
        blocks, of_block = np.unique(np.searchsorted(starts, firsts, side="right") - 1, return_inverse=True)
        if self.source.reads_single_samples or len(blocks) < 4 * ranks:  # of few blocks, two ranks may decode the same
            owners = dealt(sizes, ranks)
        else:
            owners = dealt(np.bincount(of_block, sizes).astype(np.int64), ranks)[of_block]
        return [units[owners == rank] for rank in range(ranks)]

    def of_samples(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The results of a few samples, by this rank alone."""
        read, parts = self.source.read(indices, self._fields), []
        for first in range(0, len(indices), self.size):
            parts.append(self._of_block({name: values[first : first + self.size] for name, values in read.items()}))
        return {name: np.concatenate([part[name] for part in parts]) for name in self.shapes}

    def _pass(self, reader: ThreadPoolExecutor, units: np.ndarray) -> Iterator[Unit]:
        results: dict[str, np.ndarray] = {}
        with ThreadPoolExecutor(max_workers=self._threads, thread_name_prefix="block") as threads:
            for unit, place, computed in self._submitted(threads, self._blocks_read(reader, units)):
                first, end = self.range_of(unit)
                if place == first:
                    results = {name: np.empty((end - first, *shape), self.dtypes[name]) for name, shape in self.shapes.items()}
                made = computed.result()
                for name, values in made.items():
                    results[name][place - first : place - first + self.size] = values
                if place + self.size >= end:
                    yield Unit(unit, first, end, results)

    def _submitted(self, threads: ThreadPoolExecutor, blocks: Iterable[tuple]) -> Iterator[tuple[int, int, Future]]:
        """Of each block its unit, its first sample, and its results to come, some blocks after it being under way."""
        waiting = deque()
        for unit, first, read in blocks:
            waiting.append((unit, first, threads.submit(self._of_block, read)))
            if len(waiting) > self._threads:
                yield waiting.popleft()
        yield from waiting

    def _blocks_read(self, reader: ThreadPoolExecutor, units: np.ndarray) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """The blocks of these units, some of which are read at once, and ahead."""
        stretches = [(int(unit), first, min(first + self._read_at_once, self.range_of(unit)[1]))
                     for unit in units for first in range(*self.range_of(unit), self._read_at_once)]
        ahead = reader.submit(self._read, *stretches[0][1:]) if stretches else None
        for number, (unit, first, end) in enumerate(stretches):
            read = ahead.result()
            if number + 1 < len(stretches):
                ahead = reader.submit(self._read, *stretches[number + 1][1:])
            for start in range(0, end - first, self.size):
                yield unit, first + start, {name: values[start : start + self.size] for name, values in read.items()}

    def _read(self, first: int, end: int) -> dict[str, np.ndarray]:
        indices = np.arange(first, end)
        with self._comm.reading(f"samples {first} to {end - 1} of {self.source.name!r}"):
            read = self.source.read(indices, self._fields)
        for name, values in read.items():
            check_values(values, indices, self.source, name, self._allowed.get(name, Range()))
        return read

    def _of_block(self, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The results of at most a block's samples; a block that is not full is filled up with the first of them."""
        samples = len(next(iter(read.values())))
        if samples < self.size:
            read = {name: np.concatenate([values, np.broadcast_to(values[:1], (self.size - samples, *values.shape[1:]))])
                    for name, values in read.items()}
        made = self._function({name: _as_tensor(values) for name, values in read.items()})
        return {name: tensor.numpy()[:samples] for name, tensor in made.items()}


def _as_tensor(values: np.ndarray) -> tf.Tensor:
    """Where they lie, if they may: a copy costs as much as reading them. Nothing writes into what was read."""
    if values.size and values.dtype.kind in "fiu" and values.flags.writeable and is_aligned(values):
        return tf.experimental.dlpack.from_dlpack(values.__dlpack__())
    return tf.convert_to_tensor(values)
