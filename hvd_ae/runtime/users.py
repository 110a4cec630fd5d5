"""What users write themselves, found by the path that they give."""

import importlib
import os
import sys

from hvd_ae.errors import Refused


def find_by_path(setting: str, path: str, example: str, definition: str):
    """What "package.module:name" names, which can be called; its module is found from the current folder too.

    Args:
        setting: the one that holds the path, for messages.
        example: a path as it may be.
        definition: how the function goes on in Python, behind its name, and what it returns.

    Raises:
        Refused: there is no such module or name.
    """
    module_name, _, name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        example_module, _, example_name = example.partition(":")
        raise Refused(f"{setting}={path!r} is not of the form package.module:function: write for instance {example} "
                      f"for the function {example_name} in {example_module}.py")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # the user's module usually lies where the job is started
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, but something that it imports is not: its traceback says more
        raise Refused(f"{setting}={path!r}: there is no module {module_name!r} in {os.getcwd()} or on PYTHONPATH: start "
                      "from the folder that holds it, or set PYTHONPATH") from None
    found = getattr(module, name, None)
    if not callable(found):
        raise Refused(f"{setting}={path!r}: module {module_name!r} has no function {name!r}: define "
                      f"`def {name}{definition}")
    return found
