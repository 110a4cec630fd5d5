"""Count, mean, spread, bounds and quartiles of training samples: all ranks together, the same bits on any number of them.

Samples are measured in fixed stretches by their numbers, whatever their format's blocks; stretches are merged in order into
at most a thousand groups, each by one rank, and the groups in order by every rank (law 7). Merging is that of Chan, Golub
and LeVeque 1979 (http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf), in float64.
"""

import hashlib
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.checks import Range, check_values
from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.moments import MOMENTS, merged, moments_of
from hvd_ae.data.quartiles import QUARTILES, FirstBits, quartiles
from hvd_ae.data.source import Source
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.runtime.log import log

_SAMPLES, _VALUES = 4096, 1 << 22  # of a stretch, at most
_GROUPS, _GATHERED = 1024, 1 << 24  # groups, and values of them all, which every rank gathers
_FEWEST_GROUPS = 8
_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Wanted:
    """What is measured of a field."""

    columns: int  # into which a sample's features fall: all of them, the channels, or 1
    logarithm: bool  # whether of log(1 + x) in place of x
    quartiles: bool

    @property
    def rows(self) -> int:
        """Of the table that holds it: the moments, and the quartiles."""
        return MOMENTS + len(QUARTILES) * self.quartiles


@dataclass(frozen=True)
class Statistics:
    """What was measured.

    about: says of which data, and what; the same text means that nothing need be measured again.
    tables: by field, float64 (rows, columns): count, mean, sum of squared deviations, lowest, highest, and the quartiles.
    """

    about: str
    tables: Mapping[str, np.ndarray]

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers."""
        return hashlib.sha256(b"".join(self.tables[name].tobytes() for name in sorted(self.tables))).hexdigest()

    def save(self, partial: Path) -> None:
        """Write them to a file that is put in place afterwards."""
        np.savez(partial, about=np.array(self.about), **self.tables)

    @classmethod
    def load(cls, path: Path) -> "Statistics | None":
        """What `save` wrote; None where it is not there, or damaged: it can be measured again."""
        try:
            with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
                return cls(str(file["about"]), {name: file[name] for name in file.files if name != "about"})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None


def known_to_root(known: Statistics | None, about: str, wanted: Mapping[str, Wanted], comm: Communicator) -> Statistics | None:
    """The root's, on every rank, if they are about the same (every rank calls it)."""
    shapes = {name: (of.rows, of.columns) for name, of in wanted.items()}
    is_known = (comm.world.is_root and known is not None and known.about == about
                and {name: table.shape for name, table in known.tables.items()} == shapes)
    if not comm.broadcast(np.array([is_known], np.int64)).numpy()[0]:
        return None
    tables = {name: known.tables[name] if comm.world.is_root else np.empty(shape) for name, shape in shapes.items()}
    return Statistics(about, {name: comm.broadcast(table.ravel()).numpy().reshape(table.shape)
                              for name, table in tables.items()})


def measure(source: Source, about: str, wanted: Mapping[str, Wanted], allowed: Range, comm: Communicator) -> Statistics:
    """Measure fields of all samples (every rank calls it).

    Moments take one pass over the data for all fields together, quartiles two more for each field that has them, or three
    where it has many columns.

    Args:
        allowed: values outside of it are refused by sample and feature.

    Raises:
        Refused: on every rank.
    """
    started, samples = time.monotonic(), _Stretches(source, wanted, allowed, comm)
    first_bits = {name: FirstBits(of.columns) for name, of in wanted.items() if of.quartiles}
    tables = _moments(samples, wanted, first_bits, comm)
    for name, first in first_bits.items():
        found = quartiles(first, lambda function, name=name: samples.over([name], lambda _, values: function(values)),
                          tables[name][0].astype(np.int64), comm)
        tables[name] = np.concatenate([tables[name], found])
    if comm.world.is_root:
        log.info(f"statistics of {source.count:,} training samples in {time.monotonic() - started:.1f} s")
    return Statistics(about, tables)


def _moments(samples: "_Stretches", wanted: Mapping[str, Wanted], first_bits: Mapping[str, FirstBits],
             comm: Communicator) -> dict[str, np.ndarray]:
    own: dict[str, list[np.ndarray]] = {name: [] for name in wanted}

    def measure_groups() -> None:
        for group in samples.own_groups:
            tables: dict[str, np.ndarray] = {}
            for name, values in samples.of_group(group, wanted):
                of = wanted[name]
                found = moments_of(np.log1p(values.astype(np.float64)) if of.logarithm else values, of.columns)
                tables[name] = merged(tables[name], found) if name in tables else found
                if name in first_bits:
                    first_bits[name].add(values.reshape(-1, of.columns))
            for name, table in tables.items():
                own[name].append(table)

    run_on_all(comm, measure_groups)
    together = {}
    for name, of in wanted.items():
        size = MOMENTS * of.columns
        mine = np.concatenate([np.zeros(0), *(table.ravel() for table in own[name])])
        groups = comm.all_gather(mine, samples.groups * size).numpy().reshape(-1, MOMENTS, of.columns)
        table = groups[0]
        for other in groups[1:]:
            table = merged(table, other)
        together[name] = np.ascontiguousarray(table)
    return together


class _Stretches:
    """A rank's share of the samples, a fixed stretch at a time."""

    def __init__(self, source: Source, wanted: Mapping[str, Wanted], allowed: Range, comm: Communicator):
        self._source, self._wanted, self._allowed, self._comm = source, wanted, allowed, comm
        features = max(math.prod(source.fields[name].shape) for name in wanted)
        columns = max(of.columns for of in wanted.values())
        self._samples = max(1, min(_SAMPLES, _VALUES // features))
        stretches = math.ceil(source.count / self._samples)
        self._per_group = math.ceil(stretches / min(_GROUPS, max(_FEWEST_GROUPS, _GATHERED // columns)))
        self.groups = math.ceil(stretches / self._per_group)
        self.own_groups = plan_evaluation(self.groups, comm.world).tolist()
        self._told = time.monotonic()

    def of_group(self, group: int, names) -> Iterator[tuple[str, np.ndarray]]:
        """Name and values (samples, features) float32 of each field of each of a group's stretches, checked."""
        source, names = self._source, tuple(names)
        first = group * self._per_group * self._samples
        end = min(source.count, first + self._per_group * self._samples)
        for start in range(first, end, self._samples):
            indices = np.arange(start, min(end, start + self._samples))
            self._tell(group)
            for name, values in source.read(indices, names).items():
                check_values(values, indices, source, name, self._allowed)
                yield name, source.fields[name].as_seen(values).reshape(len(indices), -1)

    def over(self, names, function: Callable[[str, np.ndarray], None]) -> None:
        """Call it with every stretch of this rank, (n, columns); every rank calls this, and a refusal is all ranks'."""

        def every() -> None:
            for group in self.own_groups:
                for name, values in self.of_group(group, names):
                    function(name, values.reshape(-1, self._wanted[name].columns))

        run_on_all(self._comm, every)

    def _tell(self, group: int) -> None:
        if self._comm.world.is_root and time.monotonic() - self._told > _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            log.info(f"statistics of the training samples: {self.own_groups.index(group) / len(self.own_groups):.0%}")
