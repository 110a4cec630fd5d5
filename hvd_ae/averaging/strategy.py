"""What every averaging strategy can do: advance by a step, and synchronize so that all ranks can show one result."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from itertools import islice

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.feed import SuperBatch
from hvd_ae.models.learner import Batch, Learner
from hvd_ae.models.state import Kind, State
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings


class OfRanks(Iterator[np.ndarray], Sized):
    """A vector of each of the ranks that were, in their order."""


class Strategy(ABC):
    """A way to keep ranks together, bound to this rank's learner.

    Whatever a strategy does, some things are the same for all. Buffers (batch normalisation's statistics) are averaged when
    the ranks synchronize, weighted by the samples each rank has seen since. Seeds (dropout's) are a rank's own. Of tables
    (masks, indices), which have no mean, all ranks take over those of the first rank that trains. And whatever writes
    parameters, `Learner.update` apart, has the layers' constraints applied to them: `self.learner.constrain`.

    Args:
        steps_per_epoch: of every rank, for strategies that change with the epoch.
    """

    # what each rank has its own of, even when the ranks are synchronized: that is neither checked to be the same nor written
    # once for all
    kinds_of_rank: frozenset[Kind] = frozenset({Kind.SEED})
    # steps from one moment at which all ranks hold the same to the next; None where that is only when they synchronize
    period: int | None = 1
    # the rank whose state, of what has no mean, becomes that of all
    first_trainer = 0
    # steps that ranks take without meeting in between, so that calls into the graph must hold whole multiples of them
    steps_at_once = 1

    def __init__(self, learner: Learner, comm: Communicator, settings: TrainSettings, steps_per_epoch: int):
        self.learner = learner
        self.comm = comm
        # of this rank's distances from the average, one for each average: their squares' sum, and their number
        self.drift = tf.Variable(tf.zeros([2], tf.float64), name="drift", trainable=False)

    @classmethod
    def check(cls, settings: TrainSettings, world: World, engine: str) -> None:
        """Refuse what this strategy cannot do, before anything is built; does not communicate.

        Raises:
            Refused: a number of ranks, or an engine, that does not fit.
        """

    @staticmethod
    def part(parameters: int, world: World) -> tuple[int, int] | None:
        """(first, count) of the parameters that this rank's optimizer updates; None for all."""
        return None

    @staticmethod
    def data_world(world: World) -> World | None:
        """This rank's place among those that train; None where it does not."""
        return world

    @staticmethod
    def updates_per_epoch(settings: TrainSettings, steps: int, trainers: int) -> int:
        """Of the optimizer, in an epoch of `steps` steps: in these a warm-up counts."""
        return math.ceil(steps / (settings.accumulate or 1))

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        """Seconds of a step on average, of computing, of communicating and of waiting for slower ranks, for `hvd-ae plan`.

        A strategy that leaves this as it is, is not predicted.

        Args:
            every: the period H; 1 where there is none.
        """
        raise NotImplementedError

    @abstractmethod
    def step(self, batch: Batch) -> tf.Tensor:
        """Train on one batch, inside `tf.function`; the sum of this rank's losses (float32 scalar)."""

    @abstractmethod
    def synchronize(self) -> None:
        """Bring `result` to the same on all ranks: before evaluation, a checkpoint and the end."""

    @property
    def result(self) -> tuple[tf.Variable, tf.Variable]:
        """The parameters and buffers to evaluate and to save, once the ranks are synchronized."""
        return self.learner.evaluated, self.learner.buffers

    @property
    def result_counters(self) -> list[tf.Variable]:
        """Seeds and tables to evaluate and to save with `result`."""
        return self.learner.counters

    def added_state(self) -> dict[str, State]:
        """What this strategy adds to the learner's state, by names of its own."""
        return {}

    @property
    def state(self) -> dict[str, State]:
        """Everything that training changes, by name."""
        of_learner = {name: each._replace(of_rank=each.kind in self.kinds_of_rank)
                      for name, each in self.learner.state.items()}
        return of_learner | self.added_state()

    def replicated_state(self) -> dict[str, tf.Variable]:
        """What all ranks hold alike once they are synchronized."""
        return {name: each.variable for name, each in self.state.items() if not each.of_rank}

    def rank_state(self) -> dict[str, tf.Variable]:
        """What each rank has its own of."""
        return {name: each.variable for name, each in self.state.items() if each.of_rank}

    @property
    def exact_state(self) -> dict[str, tf.Variable]:
        """`state`, and what else ranks that have not synchronized need to go on exactly as they would have."""
        variables = {name: each.variable for name, each in self.state.items()}
        return {**variables, "samples_since_sync": self.learner.samples_since_sync, "drift": self.drift}

    def reshard(self, name: str, of_ranks: OfRanks, world: World) -> np.ndarray | None:
        """Where this rank begins with one of `rank_state`, when another number of ranks has got here.

        Args:
            of_ranks: what each of those ranks had, in their order, one at a time, and how many they are.

        Returns None to leave it as it is in a new run. Here: a rank's own seeds, the first rank's tables, the mean of numbers,
        the largest count.
        """
        kind = self.state[name].kind
        if kind is Kind.SEED:
            return next(islice(of_ranks, world.rank, None), None)
        first = next(of_ranks)
        if kind is Kind.TABLE:
            return first
        if not np.issubdtype(first.dtype, np.floating):
            return max((first, *of_ranks), key=int)
        total, ranks = first.astype(np.float64), 1
        for other in of_ranks:
            total += other
            ranks += 1
        return (total / ranks).astype(first.dtype)

    def begin_epoch(self, epoch: int) -> None:
        """A chance to change with the epochs, before each (`epoch` are completed); every rank calls it."""

    @property
    def steps_into_period(self) -> int:
        """Steps since all ranks last held the same: not 0 where a run goes on in the middle of a period."""
        return 0

    def run_call(self, run_steps, super_batch: SuperBatch) -> float:
        """Take the steps of one call into the graph; the sum of this rank's losses."""
        return float(run_steps(super_batch.example, super_batch.batch_sizes, super_batch.global_batch_sizes))

    def after_call(self, step: int, seconds: float) -> None:
        """A chance to adapt, after each call into the graph, on every rank; `seconds` is what it took here."""

    def after_synchronizing(self, step: int, seconds: float) -> None:
        """The same when the ranks have synchronized at the end of an epoch, before `drift` begins anew."""

    def epoch_metrics(self) -> dict:
        """What this strategy adds to an epoch's record in `metrics.jsonl` (every rank calls it)."""
        return {}

    def close(self) -> None:
        """Give back what outlives Python's memory, after the last step; every rank calls it."""

    def synchronize_state(self) -> None:
        """Make the same on all ranks what is no parameter: the mean of buffers, and the first trainer's tables.

        Every strategy ends `synchronize` with it. Inside `tf.function`.
        """
        self.average(self.learner.buffers)
        for table in self.learner.tables:
            table.assign(of_rank(self.first_trainer, table, self.comm))

    def average(self, *vectors: tf.Variable) -> None:
        """Replace vectors by their mean over samples: each rank weighs what it has trained on since the last time.

        Does nothing where no rank has trained since. Inside `tf.function`.
        """
        weight, trained = self.weight()
        if trained:
            for vector in vectors:
                if vector.shape[0]:
                    vector.assign(self.comm.sum(weight * vector))
            self.learner.samples_since_sync.assign([0, 0])

    @tf.autograph.experimental.do_not_convert
    def weight(self, samples: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """This rank's share of `samples` (its own, those of all ranks), and whether there are any.

        Without them, of the samples trained on since the last average.
        """
        mine, all_ranks = tf.unstack(tf.cast(self.learner.samples_since_sync if samples is None else samples, tf.float64))
        return tf.cast(tf.math.divide_no_nan(mine, all_ranks), tf.float32), all_ranks > 0

    @tf.autograph.experimental.do_not_convert
    def add_drift(self, before: tf.Tensor, average: tf.Tensor) -> None:
        """Record how far this rank was from the average."""
        distance = tf.cast(tf.reduce_sum(tf.math.squared_difference(before, average)), tf.float64)
        self.drift.assign_add([distance, 1.0])


@tf.autograph.experimental.do_not_convert
def of_rank(rank: int, variable: tf.Variable, comm: Communicator) -> tf.Tensor:
    """The value that a variable of any dtype has on this rank, on every rank."""
    vector = tf.reshape(tf.convert_to_tensor(variable), [-1])
    if vector.dtype in (tf.float32, tf.int64):
        return tf.reshape(comm.broadcast(vector, rank), variable.shape)
    # as bytes, since not every engine knows every dtype; what is longer than a byte becomes a row of bytes
    as_bytes = tf.cast(vector, tf.uint8) if vector.dtype == tf.bool else tf.bitcast(vector, tf.uint8)
    theirs = tf.reshape(comm.broadcast(tf.reshape(as_bytes, [-1]), rank), tf.shape(as_bytes))
    value = tf.cast(theirs, tf.bool) if vector.dtype == tf.bool else tf.bitcast(theirs, vector.dtype)
    return tf.reshape(value, variable.shape)
