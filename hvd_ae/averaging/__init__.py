"""Averaging strategies, a file each; `settings/averaging.py` declares them and their settings."""

import importlib

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.settings.averaging import STRATEGIES


def strategy_class(name: str) -> type[Strategy]:
    """The strategy of that name."""
    module, _, of_module = STRATEGIES[name].partition(":")
    return getattr(importlib.import_module(module), of_module)
