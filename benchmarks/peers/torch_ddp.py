"""PyTorch DistributedDataParallel over gloo, started by torchrun, after the DDP tutorial and its notes on static graphs.

Settings: threads of each process; compile=0/1; loader, as for one process.
"""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.peers.common import GLOBAL_BATCH, Clock, given
from benchmarks.peers.torch_one import build, train

_ASK_EVERY = 20  # steps; rank 0's clock decides for all, and asking costs a small collective


class Together:
    """Rank 0's clock, which all processes hear of at the same step."""

    def __init__(self, clock: Clock):
        self._clock, self._steps = clock, 0

    def over(self, samples: int) -> bool:
        self._steps += 1
        if self._steps % _ASK_EVERY:
            return False
        stop = torch.tensor([float(self._clock.over(samples * _ASK_EVERY))])
        dist.broadcast(stop, 0)
        return bool(stop.item())


if __name__ == "__main__":
    told = given()
    dist.init_process_group("gloo")
    torch.set_num_threads(int(told.settings.get("threads", 1)))
    rank, size = dist.get_rank(), dist.get_world_size()
    model = DistributedDataParallel(build(), gradient_as_bucket_view=True, static_graph=True)
    if told.settings.get("compile") == "1":
        model = torch.compile(model)
    clock = Clock(told)
    own = torch.from_numpy(told.samples[rank::size].copy())
    train(model, told, own, GLOBAL_BATCH // size, Together(clock).over)
    if rank == 0:
        clock.say()
    dist.destroy_process_group()
