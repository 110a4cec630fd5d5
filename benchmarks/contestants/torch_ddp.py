"""PyTorch DistributedDataParallel over gloo, one process a core, started by torchrun."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.contestants.common import GLOBAL_BATCH, arguments
from benchmarks.contestants.torch_one import build, train

if __name__ == "__main__":
    images, warm_up, steps = arguments()
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    rank, size = dist.get_rank(), dist.get_world_size()
    model = DistributedDataParallel(build(), gradient_as_bucket_view=True, static_graph=True)
    train(model, torch.from_numpy(images[rank::size].copy()), GLOBAL_BATCH // size, warm_up, steps)
    dist.destroy_process_group()
