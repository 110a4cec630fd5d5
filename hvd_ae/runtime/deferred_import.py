"""Imports of modules that most runs never use, put off until something asks for what is in them."""

import contextlib
import sys
from collections.abc import Collection, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


@contextlib.contextmanager
def deferred(names: Collection[str]) -> Iterator[None]:
    """Modules of these names that are imported in the context run when they are first asked for an attribute.

    A module that fails to import then fails there. `importlib.util.LazyLoader` does the same until anything looks at
    all modules' `__file__`, as AutoGraph does.
    """
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, names: Collection[str]):
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = _OnFirstUse(spec.loader)
        return spec


class _OnFirstUse(Loader):
    """Runs a module by another loader, by way of the module's own `__getattr__` and `__dir__` (PEP 562)."""

    def __init__(self, loader: Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def run() -> None:
            del module.__getattr__, module.__dir__
            self._loader.exec_module(module)

        def on_attribute(name: str):
            # whoever goes through all modules asks for such names, which a module has from the start or never
            if name.startswith("__") and name != "__all__":
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            run()
            return getattr(module, name)

        def on_dir() -> list[str]:
            run()
            return dir(module)

        module.__getattr__, module.__dir__ = on_attribute, on_dir
