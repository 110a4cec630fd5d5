"""The laws, proved where the user is: these ranks, this engine, this launcher; with a report to keep beside results."""

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.collectives.start import start
from hvd_ae.errors import NotWritten, OutOfSync, Refused
from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.markdown import markdown_table
from hvd_ae.runtime.consensus import broadcast_text, run_on_all
from hvd_ae.runtime.versions import versions
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.settings.commands import VerifySettings
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.session import Session

_TRAINING = TrainSettings(model="shallow", epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.5, stall_timeout=0)
_ROUNDING = 1e-4  # of the distance that the parameters have moved
_CLOCKED = ("adaptive",)  # what depends on the clock is no two times the same


@dataclass(frozen=True)
class Finding:
    """What became of one law with one strategy."""

    law: str
    strategy: str
    difference: float | None = None  # None: the law says nothing about this strategy here
    tolerance: float = 0.0
    remark: str = ""

    @property
    def verdict(self) -> str:
        if self.difference is None:
            return "-"
        return "holds" if self.difference <= self.tolerance else "BROKEN"


def verify(settings: VerifySettings) -> int:
    """Check laws 1 to 4 for these strategies (every rank calls it); returns 0 where all hold, else 3.

    Raises:
        Refused: an unknown strategy, or a report that cannot be written.
    """
    strategies, report = settings.averaging, settings.report
    names = list(STRATEGIES) if strategies == "all" else [name.strip() for name in strategies.split(",")]
    for name in names:
        dataclasses.replace(_TRAINING, averaging=name).resolved()
    engine = start(settings.collectives)
    folder = Path(broadcast_text(engine, run_on_all(engine, lambda: _new_folder(engine, Path(report)))))
    findings = []
    for name in names:
        for finding in _check(name, engine, folder):
            findings.append(finding)
            if engine.world.is_root:
                print(_line(finding), flush=True)
    engine.barrier()
    if engine.world.is_root:
        shutil.rmtree(folder, ignore_errors=True)
        write_atomically(Path(report), _report(findings, engine))
        print(f"the report is in {report}", flush=True)
    return 3 if any(finding.verdict == "BROKEN" for finding in findings) else 0


def _check(name: str, engine: Communicator, folder: Path) -> Iterator[Finding]:
    """The laws that this strategy has to keep; one that is broken says what broke it."""
    laws: list[tuple[str, Callable[[], Finding]]] = [
        ("3 same bytes", lambda: _same_bytes(name, engine)), ("4 resumed", lambda: _resumed(name, engine, folder / name))]
    if name in ("gradient", "sharded"):
        laws.insert(0, ("1 one large batch", lambda: _one_large_batch(name, engine)))
    if name == "parameter":
        laws.insert(0, ("2 averaging", lambda: _averages(engine)))
    for law, check in laws:
        try:
            yield check()
        except (OutOfSync, NotWritten) as error:
            yield Finding(law, name, float("inf"), remark=str(error).partition(":")[0])
        except Refused as error:
            yield Finding(law, name, remark=str(error))
            return


def _one_large_batch(name: str, engine: Communicator) -> Finding:
    size, batch = engine.world.size, _TRAINING.batch_size
    ours, one = _trained(engine, averaging=name), _trained(SingleCommunicator(), batch_size=size * batch, data=_data(size))
    return Finding("1 one large batch", name, _moved_apart(ours, one, engine), _ROUNDING,
                   f"{size} ranks x {batch} against 1 x {size * batch}")


def _averages(engine: Communicator) -> Finding:
    ours = _trained(engine, averaging="parameter", sync_every=1, partition="shuffled")
    theirs = _trained(engine, partition="shuffled")
    return Finding("2 averaging", "parameter", _moved_apart(ours, theirs, engine), _ROUNDING,
                   "SGD, parameters averaged every step, against gradients")


def _same_bytes(name: str, engine: Communicator) -> Finding:
    strategy = _trained(engine, averaging=name).strategy
    apart = 0.0
    for vector in strategy.replicated_state().values():
        flat = np.ravel(vector.numpy()).astype(np.float64)
        if flat.size:
            apart = np.maximum(apart, np.max(engine.maximum(flat).numpy() - engine.minimum(flat).numpy()))  # keeps NaN
    if not strategy.replicated_state():
        return Finding("3 same bytes", name, remark="promises nothing")
    return Finding("3 same bytes", name, float(apart))


def _resumed(name: str, engine: Communicator, folder: Path) -> Finding:
    """Stopped within the second epoch, and gone on from the checkpoint."""
    law = "4 resumed"
    if name in _CLOCKED:
        return Finding(law, name, remark="depends on the clock")
    options = {"averaging": name, "optimizer": "adam", "learning_rate": 0.01}
    whole = _trained(engine, **options)
    with _session(engine, **options) as stopped:
        stopped.run(lambda: "here" if stopped.cursor.epoch == 1 and stopped.cursor.step_in_epoch else None)
        assert stopped.stopped_by
        save(stopped, folder, keep=1)
    step = stopped.cursor.step
    with _session(engine, **options) as resumed:
        found = restore_newest(resumed, folder)
        resumed.run()
    if found.cursor.step != step:  # begun anew it would end the same, and prove nothing
        return Finding(law, name, float("inf"), remark="; ".join(["no good checkpoint to go on from", *found.bad]))
    ends = [(value.variable.numpy().astype(np.float64), resumed.strategy.state[key].variable.numpy())
            for key, value in whole.strategy.state.items()]
    apart = np.max([np.max(np.abs(first - second), initial=0.0) for first, second in ends])
    return Finding(law, name, float(engine.maximum(np.array([apart])).numpy()[0]), remark=f"at step {step}")


def _session(engine: Communicator, **changes) -> Session:
    changes = {"data": _data(engine.world.size), **changes}
    return Session(dataclasses.replace(_TRAINING, **changes).resolved(), engine)


def _data(ranks: int) -> str:
    """916 training samples, no multiple of a batch nor of most numbers of ranks; many ranks have seven steps each."""
    return f"synthetic:{max(1018, 63 * ranks + 11)}x64"


def _trained(engine: Communicator, **changes) -> Session:
    with _session(engine, **changes) as session:
        session.run()
    return session


def _moved_apart(ours: Session, theirs: Session, engine: Communicator) -> float:
    """The largest difference of a parameter on any rank, over the largest distance that one has moved."""
    begun = _session(SingleCommunicator()).learner.vector.numpy()
    first, second = ours.learner.vector.numpy(), theirs.learner.vector.numpy()
    apart = np.max(np.abs(first - second)) / np.max(np.abs(second - begun))
    return float(engine.maximum(np.array([apart], np.float64)).numpy()[0])


def _new_folder(engine: Communicator, report: Path) -> str:
    """Beside the report, where all ranks can see it."""
    if not engine.world.is_root:
        return ""
    try:
        if report.exists():  # better now than after all the training; a folder cannot be opened either
            open(report, "a").close()
        return tempfile.mkdtemp(prefix=".verify-", dir=report.parent)
    except OSError as error:
        raise Refused(f"report={str(report)!r} cannot be written ({error.strerror}): name a file in a folder that all ranks "
                      "see") from None


def _line(finding: Finding) -> str:
    number = "" if finding.difference is None else f"{finding.difference:.1e} (at most {finding.tolerance:.0e})"
    return f"{finding.verdict:<6}  law {finding.law:<18}  {finding.strategy:<13} {number:<26} {finding.remark}"


def _report(findings: list[Finding], engine: Communicator) -> str:
    world = engine.world
    broken = sum(finding.verdict == "BROKEN" for finding in findings)
    lines = [[f.law, f"`{f.strategy}`", "" if f.difference is None else f"{f.difference:.2e}", f"{f.tolerance:.0e}", f.verdict,
              f.remark] for f in findings]
    header = ["law", "strategy", "largest difference", "tolerance", "verdict", "remark"]
    return "\n".join([
        f"# {'All laws hold' if not broken else f'{broken} broken'}: {world.size} rank{'s' * (world.size > 1)} on "
        f"{world.nodes} node{'s' * (world.nodes > 1)}, collectives {engine.name}", "",
        f"`hvd-ae verify` on {time.strftime('%Y-%m-%d %H:%M')}; data `{_data(world.size)}`, model `{_TRAINING.model}`.", "",
        ", ".join(f"{name} {version or 'not installed'}" for name, version in versions().items()), "",
        "Law 1: ranks with a batch each are one process with the batches together. Law 2: SGD with parameters averaged every "
        "step is gradient averaging. Law 3: after the last average all ranks hold the same bytes. Law 4: a stopped and "
        "resumed run is the uninterrupted one, bit for bit. Differences in laws 1 and 2 are relative to how far the "
        "parameters have moved.", "",
        markdown_table(header, lines), ""])
