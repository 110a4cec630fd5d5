"""What an epoch came to, reduced over ranks: means over samples, the slowest rank's seconds."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hvd_ae.collectives.communicator import Traffic
from hvd_ae.runtime.devices import gpu_peak_bytes
from hvd_ae.runtime.memory import peak_bytes
from hvd_ae.training.execution import Clock

if TYPE_CHECKING:
    from hvd_ae.training.session import Session

_RANKS_KEPT = 64  # in the record of an epoch


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to, over all ranks; None is a number that was not measured."""

    epoch: int  # the first is 1
    step: int  # steps since the run's start
    samples: int  # over all ranks, since the run's start
    train_loss: float  # mean over this epoch's samples, each at the parameters of its step
    val_loss: float
    val_mse: float | None  # where outputs are reconstructions
    learning_rate: float  # of the root's last update
    seconds: float  # training of this epoch in this process: the slowest rank, synchronizing included, no evaluation
    timed_seconds: float  # of these, what is left without the first calls, in which TensorFlow traces its graphs
    timed_samples: int  # over all ranks, in that time
    communication_seconds: float  # in collectives while training: mean over ranks, waiting for others included
    bytes_sent_per_rank: int  # mean over ranks
    bytes_decoded: int  # of training samples, by all ranks, as they lie before compression; nothing where memory holds them
    input_seconds: float  # in which a thread has read samples and waited for those that others read: sum over ranks
    drift: float | None  # root mean square distance of a rank from the average just before averaging
    in_sync: bool | None
    of_strategy: dict  # what the averaging strategy has to say besides
    of_ranks: dict = dataclasses.field(default_factory=dict)  # what each rank's time went to: see `_of_ranks`
    of_task: dict = dataclasses.field(default_factory=dict)  # the task's other metrics of the validation samples, by name

    @property
    def samples_per_second(self) -> float | None:
        """Over all ranks."""
        return self.timed_samples / self.timed_seconds if self.timed_seconds else None

    def record(self) -> dict:
        """This report as plain values, for `metrics.jsonl`."""
        record = dataclasses.asdict(self)
        of_strategy, of_task = record.pop("of_strategy"), record.pop("of_task")
        return {**record, "samples_per_second": self.samples_per_second, **of_strategy, **of_task}


def reduce_report(session: "Session", clock: Clock, traffic: Traffic, validation: dict[str, float],
                  in_sync: bool | None) -> EpochReport:
    """This epoch's report (every rank calls it); the count of drift begins anew."""
    comm, strategy, cursor = session.comm, session.strategy, session.cursor
    squares, averages = strategy.drift.numpy()
    strategy.drift.assign([0.0, 0.0])
    bytes_decoded, input_seconds = session.input.measured()
    sums = comm.sum(np.array([cursor.loss_sum, traffic.seconds, traffic.bytes_sent, squares, averages, bytes_decoded,
                              input_seconds])).numpy()
    rate = comm.broadcast(np.array([session.learner.learning_rate])).numpy()[0]
    seconds, warm_seconds = comm.maximum(np.array([clock.seconds, clock.warm_seconds])).numpy()
    own = np.array([clock.seconds, clock.input_seconds, traffic.seconds, peak_bytes() or 0, gpu_peak_bytes()])
    ranks = comm.world.size
    each = comm.all_gather(own, len(own) * ranks).numpy().reshape(ranks, len(own))
    return EpochReport(
        epoch=cursor.epoch + 1,
        step=cursor.step,
        samples=cursor.samples,
        train_loss=float(sums[0]) / cursor.epoch_samples,
        val_loss=validation["val_loss"],
        val_mse=validation.get("val_mse"),
        learning_rate=float(rate),
        seconds=float(seconds),
        timed_seconds=float(warm_seconds),
        timed_samples=clock.warm_samples,
        communication_seconds=float(sums[1]) / ranks,
        bytes_sent_per_rank=round(float(sums[2]) / ranks),
        bytes_decoded=int(sums[5]),
        input_seconds=float(sums[6]),
        drift=math.sqrt(sums[3] / sums[4]) if sums[4] else None,
        in_sync=in_sync,
        of_strategy=strategy.epoch_metrics(),
        of_ranks=_of_ranks(each),
        of_task={name: value for name, value in validation.items() if name not in ("val_loss", "val_mse")},
    )


def _of_ranks(each: np.ndarray) -> dict[str, list]:
    """Lists with an element a rank: its seconds in the epoch; those in which it waited for samples, and those in collectives,
    waiting for other ranks included; the most memory it has held so far, and of its GPU, in bytes.

    Of many ranks only some, so that a record stays short: evenly taken from the slowest, in computing, to the fastest.
    """
    chosen = np.arange(len(each))
    if len(each) > _RANKS_KEPT:
        computing = np.argsort(each[:, 0] - each[:, 1] - each[:, 2], kind="stable")
        chosen = np.sort(computing[np.linspace(0, len(each) - 1, _RANKS_KEPT).round().astype(int)])
    seconds, input_seconds, communication, memory, gpu_memory = each[chosen].T
    lists = {"rank": chosen.tolist(), "seconds": seconds.round(4).tolist(), "input_seconds": input_seconds.round(4).tolist(),
             "communication_seconds": communication.round(4).tolist(), "memory": memory.astype(int).tolist()}
    return lists | ({"gpu_memory": gpu_memory.astype(int).tolist()} if gpu_memory.any() else {})
