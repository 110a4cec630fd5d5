"""The house as it is drawn: data moves down, and a module imports only from rooms above its own."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "hvd_ae"
FLOORS = ["errors", "settings", "runtime", "collectives", "data", "models", "tasks", "averaging", "training", "inference",
          "runs", "api", "detector", "fitting", "commands", "cli"]
ENTRIES = {"__init__", "__main__"}  # they hand over to what lies below them
ROOT_ONLY = {"runs/files.py", "runs/folder.py", "runs/lock.py", "runs/outcome.py", "runs/plots.py"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield parts[0], path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST):
    """Full names of modules that are imported when the program runs, `from hvd_ae import api` being hvd_ae.api."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield from (f"hvd_ae.{alias.name}" for alias in node.names) if node.module == "hvd_ae" else [node.module]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from imported(node)


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_no_module_imports_from_a_room_below_its_own():
    wrong = []
    for room, path, tree in modules():
        for name in imported(tree):
            if not name.startswith("hvd_ae.") or room in ENTRIES or room == "install":
                continue
            other = name.split(".")[1]
            if other == "install":
                wrong += [f"{path} imports {name}"] if inside(path) != "commands/install_horovod.py" else []
            elif other != room and FLOORS.index(other) >= FLOORS.index(room):
                wrong.append(f"{path} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_floor():
    assert {room for room, _, _ in modules()} == {*FLOORS, *ENTRIES, "install"}


def test_what_the_root_does_alone_knows_nothing_of_other_ranks():
    """Only the root writes files, so a collective in there would be waited for in vain."""
    wrong = [f"{path} imports {name}" for room, path, tree in modules() for name in imported(tree)
             if (room == "runs" and name.startswith("hvd_ae.collectives") and inside(path) != "runs/opened.py")
             or (inside(path) in ROOT_ONLY and name == "hvd_ae.runtime.consensus")]
    assert not wrong, "\n".join(wrong)
    assert {inside(path) for _, path, _ in modules()} >= ROOT_ONLY


def test_horovod_and_mpi4py_come_in_by_one_door():
    wrong = [f"{path} imports {name}" for room, path, tree in modules() for name in imported(tree)
             if name.split(".")[0] in ("horovod", "mpi4py") and room not in ("runtime", "collectives", "install")]
    assert not wrong, "\n".join(wrong)


def test_the_environment_is_read_in_few_places_only():
    """Below start() the rank is a value; these read where files lie, or what libraries are told by
    it, or hand the launcher's words to `read_launch`."""
    allowed = {"cli.py", "runtime/failure.py", "runtime/mpi_info.py", "runtime/tensorflow_setup.py", "runtime/devices.py",
               "runtime/gpus.py", "collectives/horovod.py", "collectives/start.py", "data/download.py", "runs/lock.py",
               "commands/doctor/doctor.py", "commands/run/run.py", "commands/run/hosts.py",
               "commands/plan/plan.py"}
    found = set()
    for room, path, tree in modules():
        if room != "install" and any(isinstance(node, ast.Attribute) and node.attr == "environ" for node in ast.walk(tree)):
            found.add(inside(path))
    assert found <= allowed


def test_nothing_is_unpickled_or_evaluated():
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    for _, path, tree in modules():
        assert not forbidden & {name.split(".")[0] for name in imported(tree)}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                assert name not in ("eval", "exec"), path
                for keyword in node.keywords:
                    is_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                    assert not (keyword.arg == "allow_pickle" and is_true), path
                    is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                    assert not (keyword.arg == "safe_mode" and is_false), path
