"""What comes next: the samples of several steps, read one call into the graph ahead by a thread."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hvd_ae.data.epoch_plan import EpochPlan
from hvd_ae.data.reading import Reader

Check = Callable[[dict[str, np.ndarray], np.ndarray], None]
Complete = Callable[[dict[str, np.ndarray], np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class SuperBatch:
    """The batches of several steps."""

    example: dict[str, np.ndarray]  # by field, (samples of all these steps, *shape)
    batch_sizes: np.ndarray  # int32 (steps,): this rank's samples
    global_batch_sizes: np.ndarray  # int32 (steps,): those of all ranks


@contextmanager
def super_batches(samples: Reader, plan: EpochPlan, first_step: int, ends: Sequence[int],
                  check: Check | None = None, complete: Complete = lambda example, indices: example,
                  ) -> Iterator[Iterator[SuperBatch]]:
    """The super-batches from `first_step` on, each ending before the next of the steps `ends`, read one ahead by a thread.

    Two are in memory at a time. A fault in the thread is raised where its super-batch is asked for. The thread ends with
    the context, however it is left.

    Args:
        check: called with what was read and the numbers of the samples, to refuse it.
        complete: called with the same, to add what is no field of the source.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        yield _read_ahead(reader, lambda step, end: _read(samples, plan, step, end, check, complete), first_step, ends)


def _read_ahead(reader: ThreadPoolExecutor, read: Callable[[int, int], SuperBatch], first_step: int,
                ends: Sequence[int]) -> Iterator[SuperBatch]:
    ahead = None
    for step, end in pairwise([first_step, *ends]):
        following = reader.submit(read, step, end)
        if ahead is not None:
            yield ahead.result()
        ahead = following
    if ahead is not None:
        yield ahead.result()


def _read(samples: Reader, plan: EpochPlan, step: int, end: int, check: Check | None,
          complete: Complete) -> SuperBatch:
    example, indices = samples.read(plan, step, end)
    if check is not None:
        check(example, indices)
    return SuperBatch(complete(example, indices), plan.batch_sizes[step:end], plan.global_batch_sizes[step:end])
