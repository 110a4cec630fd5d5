"""Settings as TOML, and from TOML: one key a field, at the top level."""

import dataclasses
import difflib
from typing import get_type_hints

from hvd_ae.errors import Refused
from hvd_ae.settings.fields import RENAMED, base_type, flag_of


def to_toml(settings) -> str:
    """Fields that are None are left out: TOML has no null."""
    import tomli_w

    return tomli_w.dumps({k: v for k, v in dataclasses.asdict(settings).items() if v is not None})


def flags_from_toml(path: str, settings_class: type) -> list[str]:
    """A TOML file as command-line flags, so that one parser checks both.

    Raises:
        Refused: the file is missing, is no TOML, or holds a key that is no setting, or a table or list.
    """
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise Refused(f"config={path!r} cannot be read ({error.strerror}): give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"config={path!r} is not valid TOML ({error}): mend it, e.g. batch_size = 128") from None
    known = [field.name for field in dataclasses.fields(settings_class) if not field.metadata["positional"]]
    flags, hints = [], get_type_hints(settings_class)
    for key, value in table.items():
        if key not in known:
            if RENAMED.get(key) in known:
                raise Refused(f"config={path!r} holds {key!r}, which is called {RENAMED[key]} now: use that")
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise Refused(f"config={path!r} holds {key!r}, which is no setting: {hint}")
        flag, is_switch = flag_of(key), base_type(hints[key]) is bool
        if isinstance(value, bool) != is_switch or not isinstance(value, (bool, int, float, str)):
            wanted = "true or false" if is_switch else "a number or text"
            raise Refused(f"config={path!r} holds {key}={value!r}, which must be {wanted}: write one value after {key} =")
        if is_switch:
            flags += [flag if value else flag.replace("--", "--no-", 1)]
        else:
            flags += [f"{flag}={value}"]  # in one, so that a value may begin with a hyphen
    return flags
