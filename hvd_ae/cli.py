"""The command line: one function per command; whatever takes long to import is imported when a command runs."""

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from hvd_ae.config import Collectives, CompareSettings, PlanSettings, TrainSettings, flags_from_toml
from hvd_ae.errors import Refused
from hvd_ae.output import unbroken_output
from hvd_ae.runtime.tensorflow_setup import import_tensorflow
from hvd_ae.runtime.world import read_launch


def train(settings: OmitArgPrefixes[TrainSettings], config: str | None = None) -> int:
    """Train a model; start it alone, or with mpirun -np N, horovodrun -np N or srun.

    Args:
        config: A TOML file of settings, such as a run's config.toml; flags on the command line override it.
    """
    from hvd_ae.runtime.signals import catch_signals

    settings.resolved()  # refuses what it can at once, before the seconds in which TensorFlow is imported
    with catch_signals():
        import hvd_ae

        hvd_ae.train(settings)
    return 0


def evaluate(run: Positional[str], data: str | None = None, batch_size: int = 256) -> int:
    """Print the losses of a run's model as JSON: means over samples over all ranks.

    Args:
        run: The run folder.
        data: Samples to judge it by [the run's own validation samples].
        batch_size: Rows in one pass through the model, per rank.
    """
    import_tensorflow()
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
    import_tensorflow()
    from hvd_ae.inference import reconstruct_run

    reconstruct_run(run, data, output, batch_size)
    return 0


def compare(settings: OmitArgPrefixes[CompareSettings]) -> int:
    """Train every way of averaging from the same start in one job; write rows, a table and a picture."""
    import_tensorflow()
    from hvd_ae.commands.compare.compare import compare as compare_ways

    compare_ways(settings)
    return 0


def probe(run: Positional[str], epochs: int = 10, batch_size: int = 128, averaging: str = "gradient",
          sync_every: int | None = None) -> int:
    """Classify by a run's codes, beside raw values and principal components: accuracy and confusion matrices.

    Args:
        run: The run folder; probe.json and probe.png are written into it.
        epochs: Passes over the training samples in which the encoder is fine-tuned.
        batch_size: Samples per rank and step.
        averaging: How ranks are kept together, as for `hvd-ae train`.
        sync_every: Steps between averages, where the way has them.
    """
    settings = TrainSettings(epochs=epochs, batch_size=batch_size, averaging=averaging, sync_every=sync_every).resolved()
    import_tensorflow()
    from hvd_ae.commands.probe.probe import probe as probe_run

    probe_run(run, settings)
    return 0


def plan(settings: OmitArgPrefixes[PlanSettings]) -> int:
    """Measure a step and the collective here, and predict speed and efficiency on any number of ranks and nodes."""
    from hvd_ae.commands.plan.plan import plan as make_plan

    make_plan(settings, is_root=read_launch(os.environ).rank == 0)
    return 0


def doctor(run_dir: str = "runs", json: bool = False, comm: Collectives | None = None, timeout: float = 60) -> int:
    """Look at what a job on these ranks will stand on: launcher, MPI, Horovod, cores, GPUs, network, files; in seconds.

    Args:
        run_dir: Where run folders will go.
        json: Print a list of {level, check, seen, remedy} instead of lines.
        collectives: horovod or mpi [horovod where it is installed].
        timeout: Seconds after which a check that does not end is a fault.
    """
    from hvd_ae.commands.doctor.doctor import doctor as look

    return look(run_dir, json, comm, timeout, os.environ)


def verify(strategies: str = "gradient,parameter", comm: Collectives | None = None, report: str = "verify.md") -> int:
    """Prove on these ranks that they average right: one large batch, same bytes, exact resume. Keeps a report.

    Args:
        ways: Ways of averaging, with commas between them, or all.
        collectives: horovod or mpi [horovod where it is installed].
        report: The Markdown file to write, in a folder that all ranks see.
    """
    import_tensorflow()
    from hvd_ae.commands.verify import verify as verify_laws

    return verify_laws(strategies, comm, report)


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
    "compare": compare,
    "probe": probe,
    "plan": plan,
    "doctor": doctor,
    "verify": verify,
    "install-horovod": install_horovod,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 2 refused, 3 ranks out of step, 1 a fault."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with unbroken_output():
        try:
            return _parse(arguments)()
        except Exception as error:
            from hvd_ae.runtime.failure import end_job

            return end_job(error)


def _parse(arguments: list[str]) -> Callable[[], int]:
    """The command with its arguments filled in; what is wrong with them is said by one rank.

    Raises:
        Refused: there is no such command.
        SystemExit: with 2 where the arguments cannot be parsed, with 0 after --help.
    """
    name = arguments[0] if arguments else ""
    silent = read_launch(os.environ).rank != 0
    with contextlib.ExitStack() as stack:
        if silent:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        if name in ("", "-h", "--help"):
            print(_overview())
            raise SystemExit(0 if name else 2)
        if name not in COMMANDS:
            raise Refused(f"{name!r} is no command: use one of {', '.join(COMMANDS)}")
        return tyro.cli(_deferred(COMMANDS[name]), prog=f"hvd-ae {name}", args=_with_config(arguments)[1:])


def _overview() -> str:
    """The help of the program; that of a command comes from its function, and takes longer to make."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{command.__doc__.strip().splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: hvd-ae COMMAND [OPTIONS]", "", "Train autoencoders, or any Keras model, on MPI ranks.", "",
                      *lines, "", "hvd-ae COMMAND --help says what a command can be told."])


def _deferred(command: Callable[..., int]) -> Callable[..., Callable[[], int]]:
    """Takes the command's arguments now, to run it later."""

    @functools.wraps(command)
    def take_arguments(*arguments, **named):
        return functools.partial(command, *arguments, **named)

    return take_arguments


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
