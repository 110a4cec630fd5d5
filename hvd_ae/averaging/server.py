"""Rank 0 holds the parameters; the other ranks compute gradients for it."""

import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.feed import SuperBatch
from hvd_ae.errors import Refused
from hvd_ae.models.learner import Batch, Learner
from hvd_ae.models.state import Kind
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings

_SERVER = 0
_HEADER, _GRADIENT, _PARAMETERS = 1, 2, 3  # tags


class Server(Strategy):
    """A parameter server on rank 0 and N-1 workers, each with its own partition of the data.

    "sync": SyncReplicas (Chen et al. 2016, https://arxiv.org/abs/1604.00981). The server waits for the gradients of
    `aggregate` workers that were computed from its present parameters, applies their mean over samples, and answers
    those workers. A straggler's gradient, computed from older parameters, is dropped, and the straggler is answered at
    once. With every worker aggregated this is `gradient` on N-1 ranks.

    "async": Downpour SGD (Dean et al. 2012, "Large Scale Distributed Deep Networks"). Workers read the parameters and
    leave gradients through one-sided MPI; the server applies each as it comes. The staleness of a gradient is the number
    of updates made since its worker read the parameters, which hold its own last gradient; so one worker by itself has
    none. Reruns differ.

    The optimizer's state is the server's alone. An epoch ends when every worker has used up its part, so there is no
    incomplete period.
    Buffers are averaged over the workers when the ranks synchronize, and all take over the server's parameters.
    """

    kinds_of_rank = frozenset({Kind.SEED, Kind.OPTIMIZER, Kind.COUNT})
    period = None
    first_trainer = 1

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        workers = comm.world.size - 1
        aggregate = settings.aggregate or workers
        kind = _Synchronous if settings.server == "sync" else _Asynchronous
        self.exchange = kind(learner, comm, workers, aggregate)
        self.is_server = comm.world.rank == _SERVER

    @classmethod
    def check(cls, settings: TrainSettings, world: World, engine: str) -> None:
        if world.size < 2:
            raise Refused("averaging='server' needs a rank for the server and one for a worker, and there is 1 rank: start "
                          "at least 2")
        if settings.aggregate is not None and not settings.aggregate < world.size:
            raise Refused(f"aggregate={settings.aggregate} must be at most the number of workers, and {world.size} ranks "
                          f"have {world.size - 1}: drop it to wait for all")

    @staticmethod
    def data_world(world: World) -> World | None:
        return World(world.rank - 1, world.size - 1) if world.rank != _SERVER else None

    @property
    def exact_state(self) -> dict[str, tf.Variable]:
        """Without the parameters: what a straggler had of older ones would be dropped anyway."""
        state = super().exact_state
        del state["parameters"]
        return state

    def reshard(self, name: str, of_ranks: Iterator[np.ndarray], world: World) -> np.ndarray | None:
        """The optimizer's state is the server's alone, and rank 0 stays the server."""
        return super().reshard(name, of_ranks, world) if self.state[name].kind is Kind.SEED else next(of_ranks)

    @staticmethod
    def updates_per_epoch(settings: TrainSettings, steps: int, workers: int) -> int:
        at_once = 1 if settings.server == "async" else settings.aggregate or workers
        return math.ceil(steps * workers / at_once)

    def run_call(self, run_steps, super_batch: SuperBatch) -> float:
        if not self.is_server:
            self.exchange.begin()
            loss_sum = super().run_call(run_steps, super_batch)
            self.exchange.end()
            return loss_sum
        self.learner.samples_since_sync.assign_add([0, int(super_batch.global_batch_sizes.sum())])
        self.exchange.serve(len(super_batch.batch_sizes))
        return 0.0

    def step(self, batch: Batch) -> tf.Tensor:
        parameters = tf.numpy_function(self.exchange.fetch, [], tf.float32)
        self.learner.vector.assign(tf.ensure_shape(parameters, self.learner.vector.shape))
        gradient, loss_sum = self.learner.gradient(batch, divisor=tf.constant(1))
        tf.numpy_function(self.exchange.push, [gradient, batch.size], tf.int32)
        return loss_sum

    def synchronize(self) -> None:
        self._take_over()
        self.exchange.version = int(self.comm.broadcast(np.array([self.exchange.version]), _SERVER)[0])

    @tf.function
    def _take_over(self) -> None:
        self.learner.vector.assign(self.comm.broadcast(tf.convert_to_tensor(self.learner.vector), _SERVER))
        self.synchronize_state()

    def epoch_metrics(self) -> dict:
        return self.exchange.epoch_metrics()

    def close(self) -> None:
        self.comm.free_beside(self.exchange.beside)


class _Synchronous:
    """The exchange of "sync": two messages there, and one back."""

    def __init__(self, learner: Learner, comm: Communicator, workers: int, aggregate: int):
        self._learner, self._workers, self._aggregate = learner, workers, aggregate
        self.beside = self._messages = comm.point_to_point()
        self.version = 0  # of the parameters that this rank has
        self._parameters: np.ndarray | None = None  # of a worker: what the server answered last
        self._applied = self._dropped = 0

    def begin(self) -> None:
        """Before a call into the graph: the ranks may have synchronized since the last (worker)."""
        self._parameters = self._learner.vector.numpy()

    def end(self) -> None:
        """After it: what the last gradient brought is where the next call begins (worker)."""
        self._learner.vector.assign(self._parameters)

    def push(self, gradient: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Send a gradient summed over samples, and wait for the parameters that come of it (worker)."""
        self._messages.send(np.array([self.version, samples], np.int64), _SERVER, _HEADER)
        self._messages.send(gradient, _SERVER, _GRADIENT)
        answer = np.empty(gradient.size + 1, np.float32)
        self._messages.receive(answer, [_SERVER], _PARAMETERS)
        self.version, self._parameters = int(answer[-1:].view(np.int32)[0]), answer[:-1].copy()
        return np.int32(0)

    def fetch(self) -> np.ndarray:
        """The parameters that the server sent last (worker)."""
        return self._parameters

    def serve(self, steps: int) -> None:
        """Take `steps` gradients from every worker, and update as often as enough have come together (server)."""
        left, waiting = dict.fromkeys(range(1, self._workers + 1), steps), {}
        while any(left.values()) or waiting:
            still_to_come = sum(1 for worker, count in left.items() if count and worker not in waiting)
            if waiting and len(waiting) >= min(self._aggregate, len(waiting) + still_to_come):
                self._update(waiting)
                waiting = {}
                continue
            # not from the others: a fast one may be in the next call already
            worker, version, samples, gradient = self._receive([worker for worker, count in left.items() if count])
            left[worker] -= 1
            if version < self.version:
                self._dropped += 1
                self._answer(worker)
            else:
                waiting[worker] = samples, gradient

    def _receive(self, workers: list[int]) -> tuple[int, int, int, np.ndarray]:
        header, gradient = np.empty(2, np.int64), np.empty(self._learner.vector.shape[0], np.float32)
        worker = self._messages.receive(header, workers, _HEADER)
        self._messages.receive(gradient, [worker], _GRADIENT)
        return worker, int(header[0]), int(header[1]), gradient

    def _update(self, waiting: dict[int, tuple[int, np.ndarray]]) -> None:
        samples = sum(samples for samples, _ in waiting.values())
        if samples:
            total = np.sum([waiting[worker][1] for worker in sorted(waiting)], axis=0)  # in rank order, as reruns should
            self._learner.update(tf.constant(total / np.float32(samples)))
            self._applied += len(waiting)
        self.version += 1
        for worker in waiting:
            self._answer(worker)

    def _answer(self, worker: int) -> None:
        version = np.array([self.version], np.int32).view(np.float32)
        self._messages.send(np.append(self._learner.vector.numpy(), version), worker, _PARAMETERS)

    def epoch_metrics(self) -> dict:
        applied, dropped = self._applied, self._dropped
        self._applied = self._dropped = 0
        return {"gradients_applied": applied, "gradients_dropped": dropped}


class _Asynchronous:
    """The exchange of "async": a window of one-sided MPI."""

    def __init__(self, learner: Learner, comm: Communicator, workers: int, aggregate: int):
        self._learner, self._workers = learner, workers
        self.beside = self._window = comm.parameter_window(learner.vector.shape[0])
        self.version = 0  # of the parameters that this rank has
        self._staleness: list[int] = []

    def begin(self) -> None:
        pass  # every step fetches what the window holds

    end = begin

    def fetch(self) -> np.ndarray:
        parameters, self.version = self._window.fetch()
        return parameters

    def push(self, gradient: np.ndarray, samples: np.ndarray) -> np.ndarray:
        self._window.push(gradient, self.version, int(samples))
        return np.int32(0)

    def serve(self, steps: int) -> None:
        """Apply `steps` gradients of every worker in the order in which they come (server)."""
        self._window.publish(self._learner.vector.numpy(), self.version)
        for _ in range(steps * self._workers):
            worker, gradient, version, samples = self._window.take()
            self._staleness.append(self.version - version)
            if samples:
                self._learner.update(tf.constant(gradient / np.float32(samples)))
            self.version += 1
            self._window.publish(self._learner.vector.numpy(), self.version, taken_from=worker)

    def epoch_metrics(self) -> dict:
        staleness, self._staleness = self._staleness, []
        return {
            "gradients_applied": len(staleness),
            "staleness_mean": float(np.mean(staleness)) if staleness else None,
            "staleness_max": max(staleness, default=None),
        }
