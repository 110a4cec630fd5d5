"""From the settings to samples as a model sees them: measured together, or known from a run that goes on."""

import json
from collections.abc import Sequence

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.checks import Range
from hvd_ae.data.normalized import Normalized, Rule
from hvd_ae.data.source import Splits
from hvd_ae.data.statistics import Statistics, known_to_root, measure
from hvd_ae.runtime.log import log
from hvd_ae.settings.train import TrainSettings


def rule_of(settings: TrainSettings) -> Rule:
    """How the settings would have fields normalized."""
    return Rule.of(settings.normalize, settings.normalize_per, settings.missing)


def normalized_on_all(source: Splits, fields: Sequence[str], settings: TrainSettings, comm: Communicator,
                      fingerprint: list[int], known: Statistics | None = None) -> tuple[Splits, Statistics | None]:
    """The samples with these fields normalized, and by what statistics of the training samples (every rank calls it).

    Fields of whole numbers that name something stay as they are.

    Args:
        fingerprint: of the data.
        known: statistics that need not be measured again if they are of the same data; the root's count.

    Raises:
        Refused: on every rank, naming a sample that cannot be normalized.
    """
    rule, train = rule_of(settings), source.train
    declared = {name: train.fields[name] for name in fields if train.fields[name].dtype.kind != "i"}
    if rule.is_none or not declared:
        return source, None
    statistics = None
    if rule.needs_statistics:
        wanted = {name: rule.wanted(field) for name, field in declared.items()}
        about = json.dumps({"data": fingerprint, "fields": {name: vars(each) for name, each in sorted(wanted.items())}})
        statistics = known_to_root(known, about, wanted, comm)
        if statistics is None:
            if comm.world.is_root:
                log.info(f"statistics of {train.count:,} training samples, for normalize={settings.normalize!r}")
            allowed = Range(missing=rule.missing != "refuse", logarithm=rule.logarithm)
            statistics = measure(train, about, wanted, allowed, comm)
    tables = {} if statistics is None else statistics.tables
    normalizations = {name: rule.normalization(field, tables.get(name)) for name, field in declared.items()}
    return Splits(Normalized(train, normalizations), Normalized(source.validation, normalizations)), statistics
