"""The samples with the highest scores, and which of their features are the reason."""

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.source import SAMPLES, Source
from hvd_ae.inference.blocks import Blocks
from hvd_ae.inference.scores import Scoring
from hvd_ae.runtime.consensus import run_on_all

_FEATURES = 10  # of a sample, those with the largest shares


def worst(scores: np.ndarray, numbers: np.ndarray, count: int, scoring: Scoring, source: Source, names: list[str] | None,
          comm: Communicator, **how) -> list[dict]:
    """What `score.json` says of them; an empty list on all ranks but the root (every rank calls it).

    Args:
        scores, numbers: of this rank's samples, (samples,), in any order.
        names: of the features; their numbers stand for them without it.
    """
    if not count:
        return []
    own = np.lexsort((numbers, -scores.astype(np.float64)))[:count]
    found, of_samples = (comm.all_gather(each[own]).numpy() for each in (scores, numbers))
    chosen = np.lexsort((of_samples, -found.astype(np.float64)))[:count]
    blocks = Blocks(scoring.shares, source, comm=comm, **how)

    def explain() -> list[dict]:
        ordered = np.argsort(of_samples[chosen])
        shares = np.empty((len(chosen), scoring.width), np.float32)
        shares[ordered] = blocks.of_samples(of_samples[chosen][ordered])["shares"]
        return [{"sample": int(of_samples[place]), "score": float(found[place]),
                 "features": _largest(row, scoring, int(np.prod(source.fields[SAMPLES].shape)), names)}
                for place, row in zip(chosen, shares)]

    return run_on_all(comm, lambda: explain() if comm.world.is_root else [])


def _largest(shares: np.ndarray, scoring: Scoring, features: int, names: list[str] | None) -> list[dict]:
    first_code = 0 if scoring.kind == "code-distance" else features

    def name(place: int) -> str | int:
        if place >= first_code:
            return f"code {place - first_code}"
        return names[place] if names else place

    order = np.argsort(-shares, kind="stable")[:_FEATURES]
    return [{"feature": name(int(place)), "share": round(float(shares[place]), 6)} for place in order]
