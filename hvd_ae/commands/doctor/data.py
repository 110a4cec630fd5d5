"""What `hvd-ae doctor --data` says of data: what they are, how fast these ranks read them, and what fits into memory."""

from dataclasses import dataclass

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.doctor.contract import broken
from hvd_ae.commands.doctor.findings import Finding, fault, ok, warning
from hvd_ae.data import speed
from hvd_ae.data.shuffle_memory import Kept, ShuffleMemory, plan_memory
from hvd_ae.data.source import Source
from hvd_ae.errors import Refused
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.runtime.memory import free_bytes
from hvd_ae.settings.commands import DoctorSettings
from hvd_ae.settings.units import bytes_as_text, parse_bytes
from hvd_ae.training.samples import samples_on_all

_SECONDS = 1.0  # of reading in order, and as long at random
_SLOW = 50e6  # bytes a second of one rank, as they are read: a core decodes gzip at 200 MB/s
_MATTERS = 2.0  # seconds of an epoch's reading, below which nothing is slow
_LARGE_BLOCK = 256 << 20  # bytes, as they are read: every rank holds one while it decodes
_SCATTERED = 20.0  # times as fast in order as at random, where samples are read one by one


@dataclass(frozen=True)
class Reading:
    """What a judgement stands on: of the data as they are, and of the ranks that read them."""

    count: int  # samples
    bytes_each: int  # of one sample as it is read, all fields
    blocks: int
    largest_block: int  # samples
    singly: bool  # whether a sample is read by itself
    ranks: int
    in_order: float  # samples a second, of all ranks together
    at_random: float

    @property
    def epoch_seconds(self) -> float:
        """Each sample read once, by one of the ranks: at random where they are read one by one, else block by block."""
        return self.count / (self.at_random if self.singly else self.in_order * min(1.0, self.blocks / self.ranks))


def check_data(comm: Communicator, settings: DoctorSettings) -> list[Finding]:
    """Findings on the data, the same on all ranks (every rank calls it)."""
    try:
        source = samples_on_all(settings.data, settings, comm, look=_check_contract)
    except Refused as refusal:
        seen, _, remedy = str(refusal).rpartition(": ")
        return [fault("data", seen or remedy, remedy if seen else "look at --data")]
    fields, kept = list(source.fields), "its reader does what a Source must; " if _is_own(source) else ""
    findings = [ok("data", f"{settings.data}: {kept}{described(source)}")]
    try:
        reading = run_on_all(comm, lambda: _measured_here(source, fields, comm.world.rank, comm.world.size), name_rank=True)
    except Refused as refusal:
        seen, _, remedy = str(refusal).rpartition(": ")
        return [*findings, fault("reading", seen, remedy)]
    in_order, at_random = comm.sum(np.array(reading)).numpy()
    sizes = np.diff(np.asarray(source.block_starts), append=source.count)
    free = comm.sum(np.array([free_bytes() if comm.world.local_rank == 0 else 0], np.int64)).numpy()[0]
    facts = Reading(source.count, sum(field.bytes_read for field in source.fields.values()), len(sizes), int(sizes.max()),
                    source.reads_single_samples, comm.world.size, float(in_order), float(at_random))
    return [*findings, judge(facts, settings.data), _memory(source, fields, facts, settings.shuffle_memory, int(free))]


def _is_own(source: Source) -> bool:
    """Whether a user wrote its reader."""
    return not type(source).__module__.startswith("hvd_ae.")


def _check_contract(source: Source) -> None:
    if _is_own(source) and (sentence := broken(source)):
        raise Refused(f"its reader breaks what is promised of a Source, {sentence}: see hvd_ae/data/source.py")


def described(source: Source) -> str:
    """Samples, fields, bytes and blocks, for a person."""
    fields = ", ".join(f"{name} {field.shape} {f'{len(field.names)} names' if field.names else field.dtype}"
                       for name, field in source.fields.items())
    sizes = np.diff(np.asarray(source.block_starts), append=source.count)
    low, high = int(sizes.min()), int(sizes.max())
    each = sum(field.bytes_read for field in source.fields.values())
    samples = f"{high:,}" if low == high else f"{low:,} to {high:,}"
    how = ("a sample is read by itself" if source.reads_single_samples else
           f"a block is decoded as a whole: {len(sizes):,} of {samples} samples, {bytes_as_text(high * each)}")
    stored = source.count * source.bytes_stored
    return (f"{source.count:,} samples; {fields}; {bytes_as_text(source.count * each)} as they are read"
            f"{f', {bytes_as_text(stored)} as they lie, before compression' if stored else ', computed'}; {how}")


def judge(reading: Reading, data: str) -> Finding:
    """How fast the data are read, and what to do where that is slow."""
    seconds, ranks = reading.epoch_seconds, reading.ranks
    seen = (f"{reading.in_order:,.0f} samples/s in order, {reading.at_random:,.0f} at random, by {ranks} "
            f"rank{'s' * (ranks > 1)}; an epoch's reading takes {seconds:.2g} s")
    rate = reading.count * reading.bytes_each / seconds / ranks
    if not reading.singly and reading.largest_block * reading.bytes_each > _LARGE_BLOCK:
        return warning("reading", f"{seen}; one block is {bytes_as_text(reading.largest_block * reading.bytes_each)}, which a "
                       "rank decodes at once", f"smaller chunks: {_convert(data, '.zarr')}")
    if seconds < _MATTERS:
        return ok("reading", seen)
    if not reading.singly and reading.blocks < ranks:
        return warning("reading", f"{seen}; {reading.blocks} block{'s' * (reading.blocks > 1)} for {ranks} ranks, of which "
                       "the others wait", f"smaller chunks: {_convert(data, '.zarr')}")
    if reading.singly and reading.in_order > _SCATTERED * reading.at_random:
        return warning("reading", f"{seen}; samples lie scattered, or on a disk that seeks",
                       f"put them into the order of an epoch once: {_convert(data, '.npy')} --shuffle")
    if rate < _SLOW:
        return warning("reading", f"{seen}, {bytes_as_text(rate)}/s a rank", f"without decoding: {_convert(data, '.h5')}")
    return ok("reading", seen)


def _convert(data: str, suffix: str) -> str:
    return f"`hvd-ae convert {data} DESTINATION{suffix}`"


def _measured_here(source: Source, fields: list[str], rank: int, ranks: int) -> tuple[float, float]:
    """Samples a second of this rank, in order and at random, while the others read too."""
    source.read(np.array([0]), fields)  # what is opened, or imported, once
    first = rank * len(source.block_starts) // ranks
    return speed.in_order(source, fields, _SECONDS, first), speed.at_random(source, fields, _SECONDS, seed=rank)


def _memory(source: Source, fields: list[str], reading: Reading, given: str | None, free: int) -> Finding:
    """How a training would keep them."""
    try:
        allowed = None if given is None else parse_bytes(given)
        memory = plan_memory(source, fields, "reshuffled", reading.ranks, allowed, free)
    except Refused as refusal:
        return fault("memory", *str(refusal).partition(": ")[::2])
    except ValueError:
        return fault("memory", f"shuffle_memory={given!r} is no amount of memory", "write for instance 2GB, or 500MB")
    return ok("memory", _kept(memory, reading, f"--shuffle-memory {given}" if given else f"{bytes_as_text(free)} free"))


def _kept(memory: ShuffleMemory, reading: Reading, room: str) -> str:
    everything = bytes_as_text(reading.count * reading.bytes_each)
    if memory.window is None:
        once = "" if memory.kept is Kept.IN_FILE else ", read once a run"
        return f"{everything}, {memory.kept.value}{once}, shuffled as a whole ({room})"
    return (f"{everything} in all: windows of {memory.window:,} of {reading.blocks:,} blocks, each shuffled by itself "
            f"({room})")
