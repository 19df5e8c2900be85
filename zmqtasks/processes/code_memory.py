"""The code of modules that tasks come from, remembered where workers are forked: none of them need find and read it.

Owns code, never a module: nothing of a user's is executed here, so a worker still imports his module for itself, with
whatever that does. What lies in the file must not have changed since. `mould.py` makes one, and tells it names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec
from types import CodeType, ModuleType
from typing import NamedTuple


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


class CodeMemory:
    """A finder of modules whose code it has; install it once."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

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
        module_from_spec(spec)  # works out what the spec tells when asked, and the path of the bytecode is dear
        places = None if path is None else list(path)
        self._known[name] = _Known(spec, places, version)
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


def _version_of(spec: ModuleSpec) -> tuple[int, int]:
    stat = os.stat(str(spec.origin))
    return stat.st_mtime_ns, stat.st_size
