"""A settings dataclass as a command line: groups, help and refusals all come from its fields."""

import argparse
import dataclasses
import difflib
from typing import get_origin, get_type_hints

from hvd_ae.errors import Refused
from hvd_ae.settings.fields import RENAMED, base_type, check_bounds, choices_of, flag_of
from hvd_ae.settings.toml import flags_from_toml


def parse(program: str, settings_class: type, arguments: list[str]):
    """The settings that a command's arguments say; those of `--config FILE` count where no flag says otherwise.

    Args:
        program: how the command is called, such as "hvd-ae train".

    Raises:
        Refused: in one sentence, an unknown or unreadable flag, or a value out of bounds.
        SystemExit: after --help.
    """
    arguments = [_with_hyphens(argument) for argument in arguments]
    parser = _make_parser(program, settings_class)
    config = _ConfigParser(program).parse_known_args(arguments)[0].config
    if config is not None:
        arguments = [*flags_from_toml(config, settings_class), *arguments]
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise Refused(_about_unknown(unknown[0], parser))
    hints = get_type_hints(settings_class)
    given = {name: _read(name, value, hints[name]) for name, value in vars(namespace).items() if name != "config"}
    settings = settings_class(**given)
    check_bounds(settings)
    return settings


def _with_hyphens(argument: str) -> str:
    """--batch_size and --batch-size are the same flag; -np is how mpirun spells --np."""
    if argument == "-np":
        return "--np"
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value if flag.startswith("--") else argument


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as everything else here does: in one sentence."""

    def error(self, message: str):
        message = message.removeprefix("argument ").replace("the following arguments are required:", "it lacks")
        raise Refused(f"{message.replace(': expected one argument', ' needs a value')}: see {self.prog} --help")


class _ConfigParser(_Parser):
    """Knows --config alone, since what the file says comes before the flags."""

    def __init__(self, program: str):
        super().__init__(prog=program, add_help=False, allow_abbrev=False)
        self.add_argument("--config")


def _make_parser(program: str, settings_class: type) -> _Parser:
    positional = [f" {field.name.upper()}{' ...' * (get_origin(field.type) is tuple)}"
                  for field in dataclasses.fields(settings_class) if field.metadata["positional"]]
    parser = _Parser(prog=program, usage=f"{program}{''.join(positional)} [OPTIONS]", description=settings_class.__doc__,
                     allow_abbrev=False,
                     formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=100))
    hints, groups = get_type_hints(settings_class), {}
    for field in dataclasses.fields(settings_class):
        title = _group_of(field.name, settings_class)
        if title not in groups:
            groups[title] = parser.add_argument_group(*_title_and_text(title))
        _add(groups[title], field, hints[field.name])
    parser.add_argument("--config", metavar="FILE",
                        help="A TOML file that holds these settings, a line each: name = value; flags override it.")
    return parser


def _group_of(name: str, settings_class: type) -> str:
    """The docstring of the class that declares the field; that of a command itself is no group."""
    declared_by = next(kind for kind in settings_class.__mro__ if name in vars(kind).get("__annotations__", {}))
    return "settings" if declared_by is settings_class else declared_by.__doc__


def _title_and_text(docstring: str) -> tuple[str, str | None]:
    title, _, text = docstring.partition(": ")
    return title, text or None


def _add(group, field: dataclasses.Field, hint) -> None:
    kind, flag = base_type(hint), flag_of(field.name)
    is_needed = field.default is None and type(None) not in getattr(hint, "__args__", ())
    text = _help_of(field, kind, is_needed).replace("%", "%%")
    if field.metadata["positional"] and get_origin(hint) is tuple:
        group.add_argument(field.name, metavar=field.name.upper(), nargs="+", help=field.metadata["help"])
    elif field.metadata["positional"]:
        group.add_argument(field.name, metavar=field.name.upper(), help=text)
    elif kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
    else:
        choices = choices_of(hint)
        metavar = "{" + ",".join(choices) + "}" if choices else {int: "N", float: "X"}.get(kind, "TEXT")
        group.add_argument(flag, default=field.default, required=is_needed, metavar=metavar, help=text)


def _help_of(field: dataclasses.Field, kind: type, is_needed: bool) -> str:
    text, strategies, default = field.metadata["help"], field.metadata["of"], field.metadata["own_default"]
    if strategies:
        return f"{text} [{', '.join(strategies)}{'' if default is None else f': {default}'}]."
    return text if field.default is None or kind is bool or is_needed else f"{text} (default: {field.default})"


def _read(name: str, value, hint):
    """The value of a flag, which is text where the flag was given, and a list where there may be several."""
    if isinstance(value, list):
        return tuple(value)
    kind, choices = base_type(hint), choices_of(hint)
    if not isinstance(value, str) or kind is str:
        if choices and value is not None and value not in choices:
            raise Refused(f"{name}={value!r} is not known: use one of {', '.join(choices)}")
        return value
    try:
        return kind(value)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise Refused(f"{name}={value!r} is not {wanted}: write for instance {flag_of(name)} 2") from None


def _about_unknown(argument: str, parser: argparse.ArgumentParser) -> str:
    flag = argument.partition("=")[0]
    known = [option for action in parser._actions for option in action.option_strings]
    name = RENAMED.get(flag.removeprefix("--").replace("-", "_"))
    if name and flag_of(name) in known:
        return f"{flag} is called {flag_of(name)} now: use that"
    close = difflib.get_close_matches(flag, known, n=1)
    return f"{flag!r} is no flag of {parser.prog}: " + (f"did you mean {close[0]}?" if close else f"see {parser.prog} --help")
