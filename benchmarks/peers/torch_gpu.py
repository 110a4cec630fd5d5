"""PyTorch on one GPU, beside `hvd-ae train` on the same one: a line of JSON for each setting.

    python -m benchmarks.peers.torch_gpu SECONDS ROWS BATCH,... PRECISION,... [compile]

Samples are random, float32, as `--data synthetic:ROWSx784` are. Each setting is measured with the samples in the host's
memory, where batches are picked and pinned, and with all of them in the GPU's memory.
"""

import itertools
import json
import sys
import time

import torch

from benchmarks.peers.common import LEARNING_RATE, WIDTHS
from benchmarks.peers.torch_one import build

_WARM_UP = 30  # steps
_BETWEEN_LOOKS = 20  # steps


def samples_per_second(samples: torch.Tensor, batch_size: int, precision: str, compiled: bool, seconds: float) -> float:
    """Of the model `deep` with Adam, the last, partial batch of each epoch left out."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    model = build().cuda()
    if compiled:
        model = torch.compile(model, mode="reduce-overhead")
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    loss_of = torch.nn.MSELoss()
    done, started = 0, 0.0
    for step, batch in enumerate(_batches(samples, batch_size)):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            reconstruction = model(batch)
        loss_of(reconstruction.float(), batch).backward()
        optimizer.step()
        if step == _WARM_UP:
            torch.cuda.synchronize()
            started, done = time.perf_counter(), -batch_size
        done += batch_size
        if step > _WARM_UP and step % _BETWEEN_LOOKS == 0:
            torch.cuda.synchronize()
            elapsed = time.perf_counter() - started
            if elapsed >= seconds:
                return done / elapsed
    raise AssertionError("batches never end")


def _batches(samples: torch.Tensor, batch_size: int):
    while True:
        order = torch.randperm(len(samples), device=samples.device)
        for first in range(0, len(order) - batch_size + 1, batch_size):
            picked = samples[order[first : first + batch_size]]
            yield picked if picked.is_cuda else picked.pin_memory().cuda(non_blocking=True)


def main(seconds: str, rows: str, batches: str, precisions: str, compiled: str = "") -> None:
    on_host = torch.rand(int(rows), WIDTHS[0])
    on_gpu = on_host.cuda()
    print(json.dumps({"torch": torch.__version__, "gpu": torch.cuda.get_device_name(0)}), flush=True)
    for batch, precision, samples in itertools.product(batches.split(","), precisions.split(","), (on_host, on_gpu)):
        speed = samples_per_second(samples, int(batch), precision, bool(compiled), float(seconds))
        print(json.dumps({"batch": int(batch), "precision": precision, "samples_on": str(samples.device.type), "compiled":
                          bool(compiled), "samples_per_second": round(speed)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
