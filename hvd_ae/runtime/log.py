"""What a run says while it goes on: by the root alone, through Python's logging, so that a script can redirect it."""

import logging
import sys

log = logging.getLogger("hvd_ae")


class _StandardOutput(logging.StreamHandler):
    """Writes to what standard output is at that moment, and not to what it was when the handler was made."""

    def __init__(self):
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stdout


def let_root_speak(is_root: bool, level: str | None = None) -> None:
    """Show the root's lines on standard output, where the script has not arranged its logging otherwise.

    Args:
        level: of the root's lines, such as "info", which is what None means; other ranks say no less than warnings.
    """
    number = logging.INFO if level is None else logging.getLevelNamesMapping()[level.upper()]
    log.setLevel(number if is_root else max(number, logging.WARNING))
    if not log.handlers and not logging.getLogger().handlers:
        log.addHandler(_StandardOutput())
        log.propagate = False
