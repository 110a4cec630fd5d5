"""Libraries that some formats need and an installation may lack."""

import importlib
from types import ModuleType

from hvd_ae.errors import Refused


def import_for(data: str, module: str, extra: str) -> ModuleType:
    """The module that reads `data`, imported now and not before: most runs need none of these.

    Raises:
        Refused: it cannot be imported; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        raise Refused(f"data={data!r} is read by {module.partition('.')[0]}, which {reason}: "
                      f"pip install 'hvd_ae[{extra}]'") from None
