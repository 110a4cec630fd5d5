"""The command line: one function per command; whatever takes long to import is imported when a command runs."""

import os
import sys

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from hvd_ae.config import TrainSettings, flags_from_toml
from hvd_ae.errors import Refused
from hvd_ae.world import read_launch


def train(settings: OmitArgPrefixes[TrainSettings], config: str | None = None) -> int:
    """Train a model; start it alone, or with mpirun -np N, horovodrun -np N or srun.

    Args:
        config: A TOML file of settings, such as a run's config.toml; flags on the command line override it.
    """
    from hvd_ae.api import train as train_model

    train_model(settings)
    return 0


def evaluate(run: Positional[str], data: str | None = None, batch_size: int = 256) -> int:
    """Print the losses of a run's model as JSON: means over samples over all ranks.

    Args:
        run: The run folder.
        data: Samples to judge it by [the run's own validation samples].
        batch_size: Rows in one pass through the model, per rank.
    """
    from hvd_ae.inference import evaluate_run

    evaluate_run(run, data, batch_size)
    return 0


def reconstruct(run: Positional[str], data: str, output: str, batch_size: int = 256) -> int:
    """Pass samples through a run's model, each rank its share, and write what comes out as .npy.

    Args:
        run: The run folder.
        data: Samples: a name or a path, as `hvd-ae train --data` takes it.
        output: The .npy file to write, float32, one row a sample.
        batch_size: Rows in one pass through the model, per rank.
    """
    from hvd_ae.inference import reconstruct_run

    reconstruct_run(run, data, output, batch_size)
    return 0


def install_horovod(gpu: bool = False, mpi_home: str | None = None) -> int:
    """Build Horovod for exactly the TensorFlow and the MPI that are here, and check it with two ranks.

    Args:
        gpu: Build with NCCL for GPUs.
        mpi_home: Folder of another MPI than the one that came with this environment.
    """
    from hvd_ae.install import install_horovod as install

    install(gpu=gpu, mpi_home=mpi_home)
    return 0


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "reconstruct": reconstruct,
    "install-horovod": install_horovod,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 2 refused, 3 ranks out of step, 1 a fault."""
    # TensorFlow writes a page of warnings on every rank before the first line of ours; real errors are exceptions
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    speaks = True
    try:
        speaks = read_launch(os.environ).rank == 0
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="hvd-ae", args=_with_config(sys.argv[1:] if arguments is None else arguments),
            description="Train autoencoders, or any Keras model, on MPI ranks.", console_outputs=speaks,
        )
    except Refused as refusal:
        if "hvd_ae.collectives.failure" not in sys.modules:  # before any rank could wait for another
            if speaks:
                print(f"hvd-ae: {refusal}", file=sys.stderr)
            return refusal.exit_status
        return _end_job(refusal)
    except Exception as error:
        return _end_job(error)


def _end_job(error: Exception) -> int:
    from hvd_ae.collectives.failure import end_job

    return end_job(error)


def _with_config(arguments: list[str]) -> list[str]:
    """`train --config FILE ...` with the file's settings put before the command line's own, which override them."""
    if arguments[:1] != ["train"]:
        return arguments
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--config":
            path = value or (arguments[position + 1] if position + 1 < len(arguments) else "")
            return ["train", *flags_from_toml(path, TrainSettings), *arguments[1:]]
    return arguments
