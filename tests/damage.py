"""What may happen to files that nobody is writing."""

import random

DAMAGES = ("bit", "byte", "cut", "grown", "empty", "gone", "swapped", "zeros")


def damage(random_: random.Random, folder) -> str:
    """Something happens to one file of a folder, or to two; a lock that cannot be read is another's, and takes long."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    path, kind = random_.choice(files), random_.choice(DAMAGES)
    content = bytearray(path.read_bytes())
    if kind in ("bit", "byte") and content:
        content[random_.randrange(len(content))] ^= 1 << random_.randrange(8) if kind == "bit" else 0xFF
    elif kind == "cut":
        del content[random_.randrange(max(1, len(content))) :]
    elif kind == "grown":
        content += bytes(random_.randrange(1, 100))
    elif kind == "empty":
        content.clear()
    elif kind == "zeros":
        content[:] = bytes(len(content))
    path.write_bytes(content)
    if kind == "gone":
        path.unlink()
    elif kind == "swapped":
        other = random_.choice(files)
        swap = path.with_name("swap")
        path.rename(swap)
        if other.exists():
            other.rename(path)
        swap.rename(other)
    return f"{kind} {path.name}"
