"""Above what a score is odd: an exact quantile of samples that are not judged, kept in the run folder for later data."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.source import Source
from hvd_ae.errors import Refused
from hvd_ae.inference.blocks import Blocks, Unit
from hvd_ae.inference.gaussian import Gaussian, measure_gaussian
from hvd_ae.inference.ranking import quantiles
from hvd_ae.inference.scores import Scoring
from hvd_ae.runs.files import replacing, write_atomically
from hvd_ae.runtime.consensus import broadcast_text, run_on_all

FILE, REFERENCE = "threshold.json", "score-reference.npz"  # in the run folder
_QUANTILE = 0.99


@dataclass(frozen=True)
class Threshold:
    """What later data are judged by.

    quantile: of which samples' scores, by `of`, and how many these were.
    model: SHA-256 of the models that gave the scores.
    """

    score: str
    threshold: float
    quantile: float
    of: str
    samples: int
    model: str

    def keep_in(self, run: str, reference: Gaussian | None) -> None:
        """Keep it in the run folder (the root calls it)."""
        if reference is not None:
            with replacing(Path(run) / REFERENCE) as partial:
                reference.save(partial)
        write_atomically(Path(run) / FILE, json.dumps(asdict(self), indent=2) + "\n")


def stored_threshold(run: str, model: str, comm: Communicator) -> Threshold | None:
    """What the run folder keeps, on every rank; None where that is nothing, or of other models (every rank calls it)."""

    def read() -> str:
        try:
            found = Threshold(**json.loads((Path(run) / FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, TypeError) as error:
            raise Refused(f"{Path(run) / FILE} cannot be read ({error}): remove it") from None
        return json.dumps(asdict(found)) if found.model == model else ""

    text = broadcast_text(comm, run_on_all(comm, lambda: read() if comm.world.is_root else ""))
    return Threshold(**json.loads(text)) if text else None


def stored_reference(run: str, scoring: Scoring, comm: Communicator) -> Gaussian:
    """What the scores of a stored threshold are distances from, on every rank (every rank calls it).

    Raises:
        Refused: on every rank, when it is not there, or damaged.
    """

    def read() -> Gaussian:
        try:
            found = Gaussian.load(Path(run) / REFERENCE)
            if found.precision.shape != (scoring.width, scoring.width):
                raise ValueError(f"it is of {len(found.mean)} numbers")
            return found
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise Refused(f"{Path(run) / REFERENCE} cannot be read ({error}): remove {FILE} beside it, and score again"
                          ) from None

    empty = Gaussian(np.zeros(scoring.width), np.zeros((scoring.width, scoring.width)))
    return run_on_all(comm, lambda: read() if comm.world.is_root else empty).on_all(comm)


def reference_of(scoring: Scoring, source: Source, comm: Communicator, **how) -> Gaussian:
    """Of the run's training samples (every rank calls it)."""
    return measure_gaussian(Blocks(scoring.vectors, source, comm=comm, **how), comm)


def scores_of(scoring: Scoring, source: Source, comm: Communicator, **how) -> np.ndarray:
    """The scores of this rank's share of samples, float32, in no order (every rank calls it)."""
    own = [np.zeros(0, np.float32)]

    def keep(unit: Unit) -> None:
        check_scores(unit.outputs["scores"], unit.first, source)
        own.append(unit.outputs["scores"])

    Blocks(scoring.scores, source, comm=comm, **how).each(keep)
    return np.concatenate(own)


def check_scores(scores: np.ndarray, first: int, source: Source) -> None:
    """Refuse scores, of consecutive samples from this number on, that are not finite."""
    odd = np.flatnonzero(~np.isfinite(scores))
    if len(odd):
        raise Refused(f"data={source.name!r}: sample {source.number(first + int(odd[0]))} has the score {scores[odd[0]]}, "
                      "which is no number to compare: did the training diverge? Use another run")


def measure_threshold(scoring: Scoring, source: Source, name: str, quantile: float | None, model: str, comm: Communicator,
                      **how) -> Threshold:
    """The quantile of these samples' scores (every rank calls it)."""
    own, share = scores_of(scoring, source, comm, **how), _QUANTILE if quantile is None else quantile
    return Threshold(scoring.kind, quantiles(own, [share], comm)[0], share, name, source.count, model)
