"""The command line: every command, what it can be told, and where it is written."""

import contextlib
import importlib
import io
import os
import shlex
import sys

from hvd_ae.errors import Refused
from hvd_ae.runtime.output import unbroken_output
from hvd_ae.runtime.tensorflow_setup import import_tensorflow
from hvd_ae.runtime.world import read_launch
from hvd_ae.settings import commands
from hvd_ae.settings.parser import parse
from hvd_ae.settings.train import TrainSettings

# Each: the settings, whose docstring is the command's help; the function that takes them, and returns the exit status or
# None for 0; and whether TensorFlow is to be imported first, which takes seconds.
COMMANDS = {
    "train": (TrainSettings, "hvd_ae.commands.train:train", False),
    "evaluate": (commands.EvaluateSettings, "hvd_ae.commands.evaluate:evaluate", True),
    "encode": (commands.EncodeSettings, "hvd_ae.commands.encode:encode", True),
    "reconstruct": (commands.ReconstructSettings, "hvd_ae.commands.reconstruct:reconstruct", True),
    "decode": (commands.DecodeSettings, "hvd_ae.commands.decode:decode", True),
    "sample": (commands.SampleSettings, "hvd_ae.commands.sample:sample", True),
    "export": (commands.ExportSettings, "hvd_ae.commands.export:export", True),
    "report": (commands.ReportSettings, "hvd_ae.commands.report:report", False),
    "track": (commands.TrackSettings, "hvd_ae.commands.track:track", True),
    "score": (commands.ScoreSettings, "hvd_ae.commands.score.score:score", True),
    "compare": (commands.CompareSettings, "hvd_ae.commands.compare.compare:compare", True),
    "probe": (commands.ProbeSettings, "hvd_ae.commands.probe.probe:probe", True),
    "plan": (commands.PlanSettings, "hvd_ae.commands.plan.plan:plan", True),
    "convert": (commands.ConvertSettings, "hvd_ae.commands.convert.convert:convert", True),
    "doctor": (commands.DoctorSettings, "hvd_ae.commands.doctor.doctor:doctor", False),
    "verify": (commands.VerifySettings, "hvd_ae.commands.verify:verify", True),
    "run": (commands.RunOnRanksSettings, "hvd_ae.commands.run.run:run", False),
    "install-horovod": (commands.InstallHorovodSettings, "hvd_ae.commands.install_horovod:install_horovod", False),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 2 refused, 3 ranks not in sync, 1 a fault."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with unbroken_output():
        try:
            return _run(*parse_command(arguments))
        except Exception as error:
            from hvd_ae.runtime.failure import end_job

            return end_job(error)


def _run(name: str, settings) -> int:
    _, path, needs_tensorflow = COMMANDS[name]
    if needs_tensorflow:
        import_tensorflow()
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)(settings) or 0


def parse_command(arguments: list[str]) -> tuple[str, object]:
    """The command's name and its settings.

    Raises:
        Refused: no such command, or flags that it does not take.
        SystemExit: after --help.
    """
    name, *rest = arguments or [""]
    with contextlib.ExitStack() as stack:
        if read_launch(os.environ).rank > 0:  # what a person is told while flags are read, one rank says
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if name in ("", "-h", "--help"):
            print(_overview())
            raise SystemExit(0 if name else 2)
        if name == "run" and "--" in rest:  # what follows is another command's, and stays as it is
            rest = [*rest[: rest.index("--")], shlex.join(rest[rest.index("--") + 1 :])]
        if name not in COMMANDS:
            raise Refused(f"{name!r} is no command: use one of {', '.join(COMMANDS)}")
        return name, parse(f"hvd-ae {name}", COMMANDS[name][0], rest)


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{kind.__doc__.strip().splitlines()[0]}" for name, (kind, *_) in COMMANDS.items()]
    return "\n".join(["usage: hvd-ae COMMAND [OPTIONS]", "", "Train autoencoders, or any Keras model, on MPI ranks.", "",
                      *lines, "", "hvd-ae COMMAND --help says what a command can be told."])
