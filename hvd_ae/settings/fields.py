"""A setting is declared once: its default, its help, and what it may be stand with its field."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hvd_ae.errors import Refused

# Settings that have another name now.
RENAMED = {"slots": "optimizer_state", "ways": "averaging", "proof_every": "check_every"}


def setting(default, help: str, *, at_least: float | None = None, above: float | None = None, at_most: float | None = None,
            example: object = None, same_on_resume: bool = False, positional: bool = False, of: Iterable[str] = (),
            own_default: object = None):
    """A field of a settings dataclass.

    Args:
        help: one sentence for users; what stands in brackets at its end is the default where that is not `default`.
        at_least, above, at_most: bounds of a number, each None where there is none.
        example: a value to try, for the sentence that refuses another.
        same_on_resume: whether a run that goes on from a checkpoint must have the value that the checkpoint's run had.
        positional: whether the command line takes it without a flag.
        of: the averaging strategies, tasks or models that take this setting; all others refuse it. Empty where all take it.
        own_default: what those take where the setting is None; may be None, too.
    """
    return dataclasses.field(default=default, metadata={
        "help": help, "at_least": at_least, "above": above, "at_most": at_most, "example": example,
        "same_on_resume": same_on_resume, "positional": positional, "of": tuple(of), "own_default": own_default,
    })


def own(takers: Iterable[str], default, help: str, same_on_resume: bool = True, **bounds):
    """A setting of these strategies, tasks or models alone, with their default; it mostly must stay the same on a resume."""
    return setting(None, help, same_on_resume=same_on_resume, of=takers, own_default=default, **bounds)


def shared(settings_class: type, name: str):
    """The field that another command's settings have under this name, as a field of these."""
    [field] = [field for field in dataclasses.fields(settings_class) if field.name == name]
    return dataclasses.field(default=field.default, metadata=field.metadata)


def check_bounds(settings) -> None:
    """Refuse values outside what their fields allow.

    Raises:
        Refused: naming the value, the rule and the way out.
    """
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is not None:
            _check_value(field.name, value, choices_of(hints[field.name]), field.metadata)


def _check_value(name: str, value: Any, choices: tuple, bounds) -> None:
    if choices and value not in choices:  # the command line has checked this, a script or a TOML file has not
        raise Refused(f"{name}={value!r} is not known: use one of {', '.join(choices)}")
    if bounds["at_least"] is not None and not value >= bounds["at_least"]:
        raise Refused(f"{name}={value} must be at least {bounds['at_least']}: give a larger number, or leave it out")
    if bounds["above"] is not None and not value > bounds["above"]:
        raise Refused(f"{name}={value} must be above {bounds['above']}: try {bounds['example']}")
    if bounds["at_most"] is not None and not value <= bounds["at_most"]:
        raise Refused(f"{name}={value} must be at most {bounds['at_most']}: try {bounds['example']}")
    if isinstance(value, float) and math.isinf(value):
        raise Refused(f"{name}={value} must be finite: give a number, or leave it out")


def flag_of(name: str) -> str:
    """A setting's name on the command line."""
    return "--" + name.replace("_", "-")


def choices_of(hint) -> tuple:
    """The values of a `Literal`, also where it may be None; empty for other types."""
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


def base_type(hint) -> type:
    """int, float, str or bool, also where it may be None."""
    if choices_of(hint):
        return str
    return next((part for part in get_args(hint) if part is not type(None)), hint)
