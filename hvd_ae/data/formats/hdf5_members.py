"""Finding a data set in an HDF5 file, and saying what is there where it is not."""

import posixpath
from collections.abc import Iterator
from operator import itemgetter

from hvd_ae.data.spec import Spec
from hvd_ae.errors import Refused

LABELS_BY_NAME = ("labels", "y")  # taken as such where they lie beside the samples and nothing else is named
_LOOKED_AT = 10_000  # members; a group may have a million
_SHOWN = 20


def samples_member(file, spec: Spec) -> str:
    """What the user named, or the only data set that could be samples.

    Raises:
        Refused: there are several, or none.
    """
    if spec.member is not None:
        return posixpath.normpath(posixpath.join("/", spec.member))
    able = {name: data_set for name, data_set in data_sets(file) if _could_be_samples(data_set)}
    able = [name for name, data_set in able.items() if not _is_beside(name, data_set, spec)] or list(able)
    if len(able) == 1:
        return able[0]
    raise Refused(f"data={spec.name!r} holds {'several' if able else 'no'} data sets that could be samples, {_shown(file)}: "
                  f"write which, as {spec.path}:NAME")


def _is_beside(name: str, data_set, spec: Spec) -> bool:
    """Whether it is named as something else than the samples, or as labels by its own name."""
    group, own = posixpath.split(name)
    named = {posixpath.normpath(posixpath.join(group, member)) for member in spec.beside.values()}
    return name in named or own in LABELS_BY_NAME and data_set.shape[1:] == (1,)


def find(file, member: str, spec: Spec):
    """The data set of this name, through links.

    Raises:
        Refused: there is none.
    """
    import h5py

    name = f"data={spec.name!r}"
    try:
        found = file[member]
    except KeyError:
        link = _link(file, member)
        if isinstance(link, h5py.ExternalLink):
            raise Refused(f"{name}: {member} is a link to {link.path} in {link.filename}, which is not there: bring that "
                          "file") from None
        raise Refused(f"{name} has no data set {member!r}; it has {_shown(file)}: name one of them") from None
    if not isinstance(found, h5py.Dataset):
        raise Refused(f"{name}: {member!r} is a {type(found).__name__.lower()}, not a data set; there is {_shown(file)}: name "
                      "one of them")
    return found


def data_sets(file) -> Iterator[tuple[str, object]]:
    """The names of all data sets, and these, each once, through links.

    Dimension scales are left out: they say where samples are.
    """
    import h5py

    groups, seen, left = [("/", file)], set(), _LOOKED_AT
    while groups:
        path, group = groups.pop()
        for name in group:
            left -= 1
            if left < 0:
                return
            try:
                found = group[name]
                info = h5py.h5o.get_info(found.id)
            except (KeyError, OSError, RuntimeError):
                continue  # a link that leads nowhere
            if (key := (info.fileno, info.addr)) in seen:
                continue
            seen.add(key)
            if isinstance(found, h5py.Group):
                groups.append((posixpath.join(path, name), found))
            elif isinstance(found, h5py.Dataset) and not is_scale(found):
                yield posixpath.join(path, name), found


def is_scale(data_set) -> bool:
    """Whether it holds the coordinates of a dimension. HDF5's own H5DSis_scale frees memory twice in some damaged files."""
    kind = data_set.attrs.get("CLASS")
    return isinstance(kind, bytes | str) and kind in (b"DIMENSION_SCALE", "DIMENSION_SCALE")


def _could_be_samples(data_set) -> bool:
    return data_set.shape is not None and len(data_set.shape) >= 2 and data_set.dtype.kind in "fiub"


def _link(file, member: str):
    try:
        return file.get(member, getlink=True)
    except (KeyError, RuntimeError, OSError):
        return None


def _shown(file) -> str:
    """Those that could be samples, or, where there are none, all."""
    every = list(data_sets(file))
    able = [(name, data_set) for name, data_set in every if _could_be_samples(data_set)] or every
    more = f" and {len(able) - _SHOWN} more" if len(able) > _SHOWN else ""
    shown = sorted(able, key=itemgetter(0))[:_SHOWN]
    listed = ", ".join(f"{name} {data_set.shape} {data_set.dtype}" for name, data_set in shown)
    return listed + more or "no data sets at all"
