"""Which arrays a Zarr store holds, by the JSON files that describe them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.data.spec import Spec
from hvd_ae.errors import Refused

DRIVERS = {"zarr.json": "zarr3", ".zarray": "zarr"}  # TensorStore's names, by the file that describes an array


@dataclass(frozen=True)
class Array:
    """An array as its metadata describe it."""

    described_in: Path
    metadata: Mapping
    attributes: Mapping

    @property
    def reads_missing(self) -> bool:
        fill = self.metadata.get("fill_value")
        return fill == "NaN" or fill is not None and self.attributes.get("missing_chunks") == "fill"

    @property
    def packing(self) -> tuple[float, float, int | None] | None:
        """Scale, offset and the number that stands for a missing value, as xarray packs floats into integers."""
        if not {"scale_factor", "add_offset"} & self.attributes.keys():
            return None
        missing = self.metadata if self.metadata["zarr_format"] == 2 else {"fill_value": self.attributes.get("_FillValue")}
        return (float(self.attributes.get("scale_factor", 1)), float(self.attributes.get("add_offset", 0)),
                missing["fill_value"] if isinstance(missing["fill_value"], int) else None)


def arrays_of(spec: Spec) -> dict[str, Array]:
    """All arrays of the store by their names within it; the store itself, where it is one, by the name ""."""
    try:
        if not spec.path.is_dir():
            raise NotADirectoryError("no such folder")
        found = {"" if folder == spec.path else str(folder.relative_to(spec.path)): array
                 for folder, array in _walk(spec.path)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Refused(f"data={spec.name!r} is no whole Zarr store ({type(error).__name__}: {error}): check the path, or write "
                      "it anew") from None
    if not found:
        raise Refused(f"data={spec.name!r} holds no Zarr array (neither zarr.json nor .zarray is in it): check the path")
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, Array]]:
    """Folders that are arrays; what lies in them, which may be a million chunks, is not listed."""
    for name in DRIVERS:
        if (file := folder / name).exists():
            metadata = json.loads(file.read_bytes())
            if name == "zarr.json" and metadata["node_type"] != "array":
                continue
            beside = folder / ".zattrs"
            attributes = metadata.get("attributes") if name == "zarr.json" else \
                json.loads(beside.read_bytes()) if beside.exists() else None
            [int(length) for length in metadata["shape"]]
            yield folder, Array(file, metadata, dict(attributes or {}))
            return
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _walk(inner)


def listed(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"{member or 'one array, the store itself,'} {tuple(array.metadata['shape'])}"
                     for member, array in sorted(arrays.items()))
