"""The code of modules that tasks come from, remembered where workers are forked: none of them need find and read it.

Owns code, and modules that are empty: nothing of a user's is executed here, so a worker still imports his module for
itself, with whatever that does. What lies in the file must not have changed since. `mould.py` makes one, and tells it
names.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec
from types import CodeType, ModuleType
from typing import NamedTuple

_lock: Callable[[str], AbstractContextManager[None]] | None
_lock = getattr(importlib._bootstrap, "_ModuleLockManager", None)
"""What keeps other threads from a module that is being imported; without it there is no short way."""


class _Loader(SourceFileLoader):
    """Loads a module from its file, but that its code is at hand."""

    def __init__(self, loader: SourceFileLoader, code: CodeType) -> None:
        super().__init__(loader.name, str(loader.path))
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _Known(NamedTuple):
    spec: ModuleSpec
    path: list[str] | None
    """Where it was looked for: the module search path, or the folders of its package."""
    version: tuple[int, int]
    code: CodeType


class CodeMemory:
    """A finder of modules whose code it has; install it once."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._empty: dict[str, ModuleType] = {}
        """Modules before they are executed, each for one import."""

    def install(self) -> None:
        """Be asked first; what another finder would give is not remembered, so whoever comes first today still does."""
        sys.meta_path.insert(0, self)

    def learn(self, name: str) -> None:
        """Remember the code of a module and of the packages it is in, as far as they come from files of source."""
        path: list[str] | None = None
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            known = self._learn(".".join(parts[:end]), path)
            if known is None:
                return
            path = known.spec.submodule_search_locations

    def _learn(self, name: str, path: list[str] | None) -> _Known | None:
        if name in self._known:
            return self._known[name]
        try:
            spec = self._found(name, path)
            if spec is None or type(spec.loader) is not SourceFileLoader:
                return None
            version = _version_of(spec)
            code = spec.loader.get_code(name)
        except Exception:  # of the user's file, or of what finds it: the worker will tell
            return None
        if code is None:
            return None
        spec.loader = _Loader(spec.loader, code)
        self._empty[name] = module_from_spec(spec)  # works out what the spec tells when asked, which is dear
        places = None if path is None else list(path)
        self._known[name] = _Known(spec, places, version, code)
        return self._known[name]

    def _found(self, name: str, path: list[str] | None) -> ModuleSpec | None:
        """Return what the module search path gives, if that is what an import would find."""
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path)
            if spec is not None or finder is PathFinder:
                return spec if finder is PathFinder else None
        return None

    def import_module(self, name: str) -> ModuleType:
        """Return a module as `importlib.import_module` does, by a shorter way where its code is known.

        A new worker pays for each function of the import system that it calls, and there are some thirty.

        Raises:
            BaseException: as there.
        """
        if _lock is not None and sys.meta_path[:1] == [self] and name in self._empty and name not in sys.modules:
            module = self._load(name)
            if module is not None:
                return module
        return importlib.import_module(name)

    def _load(self, name: str) -> ModuleType | None:
        """Import a module and the packages it is in; return None where that has to go the usual way."""
        assert _lock is not None
        above, _, last = name.rpartition(".")
        package = (sys.modules.get(above) or self._load(above)) if above else None
        if above and (package is None or _is_under_way(package)):
            return None
        with _lock(name):
            if name in sys.modules or name not in self._empty:
                return None
            if self.find_spec(name, getattr(package, "__path__", None)) is None:
                return None
            module = self._execute(name)
        if package is not None:
            setattr(package, last, module)
        return module

    def _execute(self, name: str) -> ModuleType:
        module = sys.modules[name] = self._empty.pop(name)
        assert module.__spec__ is not None
        module.__spec__._initializing = True  # type: ignore[attr-defined]
        try:
            exec(self._known[name].code, module.__dict__)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        finally:
            module.__spec__._initializing = False  # type: ignore[attr-defined]
        return sys.modules[name]  # it may have put another in its place

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module whose code is known, if it still is where and what it was."""
        known = self._known.get(name)
        if known is None or (None if path is None else list(path)) != known.path:
            return None
        try:
            return known.spec if _version_of(known.spec) == known.version else None
        except OSError:  # it is gone
            return None


def _is_under_way(module: ModuleType) -> bool:
    """Tell whether a module is being imported, maybe by another thread."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


def _version_of(spec: ModuleSpec) -> tuple[int, int]:
    stat = os.stat(str(spec.origin))
    return stat.st_mtime_ns, stat.st_size
