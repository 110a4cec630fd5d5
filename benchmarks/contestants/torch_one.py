"""PyTorch, one process with all cores. The data lie in memory as one tensor, which is faster than any DataLoader."""

import os

import torch

from benchmarks.contestants.common import GLOBAL_BATCH, LEARNING_RATE, WIDTHS, Clock, arguments


def build() -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for inputs, outputs in zip(WIDTHS[:-1], WIDTHS[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1], torch.nn.Sigmoid())


def train(model: torch.nn.Module, images: torch.Tensor, batch_size: int, warm_up: int, steps: int) -> None:
    """Each batch drawn from a permutation of the epoch; called by every process with its own images."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, foreach=True)
    loss_of = torch.nn.MSELoss()
    clock, order, taken = Clock(), torch.randperm(len(images)), 0
    for step in range(warm_up + steps):
        if step == warm_up:
            clock.start()
        if taken + batch_size > len(images):
            order, taken = torch.randperm(len(images)), 0
        batch = images[order[taken : taken + batch_size]].float() / 255
        taken += batch_size
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(batch), batch).backward()
        optimizer.step()
    if int(os.environ.get("RANK", "0")) == 0:
        clock.say(steps * GLOBAL_BATCH)


if __name__ == "__main__":
    images, warm_up, steps = arguments()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    train(build(), torch.from_numpy(images), GLOBAL_BATCH, warm_up, steps)
