"""PyTorch, one process with all cores, after the tutorial "Training with PyTorch" and the performance tuning guide.

Settings: threads; compile=0/1 (torch.compile of the model); precision=float32 or bfloat16 (automatic mixed precision);
loader=memory (all samples are one tensor, from which a batch is picked by its indices) or a number of DataLoader workers.
"""

import os
from collections.abc import Iterator

import torch

from benchmarks.peers.common import GLOBAL_BATCH, LEARNING_RATE, WIDTHS, Clock, Given, given


def build() -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for inputs, outputs in zip(WIDTHS[:-1], WIDTHS[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1], torch.nn.Sigmoid())


def batches(samples: torch.Tensor, batch_size: int, loader: str) -> Iterator[torch.Tensor]:
    """Shuffled anew every epoch, for ever, the last, partial batch left out."""
    if loader == "memory":
        while True:
            order = torch.randperm(len(samples))
            for first in range(0, len(order) - batch_size + 1, batch_size):
                yield samples[order[first : first + batch_size]]
    workers = int(loader)
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(samples), batch_size, drop_last=True)
    data = torch.utils.data.DataLoader(_Rows(samples), sampler=sampler, batch_size=None, num_workers=workers,
                                       persistent_workers=workers > 0)
    while True:
        yield from data


class _Rows(torch.utils.data.Dataset):
    """Picks a whole batch at once; picking sample by sample would be many times slower."""

    def __init__(self, samples: torch.Tensor):
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, indices):
        return self._samples[indices]


def train(model: torch.nn.Module, told: Given, samples: torch.Tensor, batch_size: int, over) -> None:
    """Train until `over(samples of a step, over all processes)` says so; called by every process with its own samples."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    loss_of = torch.nn.MSELoss()
    mixed = told.settings.get("precision") == "bfloat16"
    for picked in batches(samples, batch_size, told.settings.get("loader", "memory")):
        batch = picked.float() * told.scale
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            reconstruction = model(batch)
        loss_of(reconstruction.float(), batch).backward()
        optimizer.step()
        if over(GLOBAL_BATCH):
            return


if __name__ == "__main__":
    told = given()
    torch.set_num_threads(int(told.settings.get("threads", len(os.sched_getaffinity(0)))))
    model = build()
    if told.settings.get("compile") == "1":
        model = torch.compile(model)
    clock = Clock(told)
    train(model, told, torch.from_numpy(told.samples), GLOBAL_BATCH, clock.over)
    clock.say()
