"""What is remembered of the modules that tasks come from: their code, and nothing that it does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from tests.processes.crew import Crew
from zmqtasks.processes import linux
from zmqtasks.processes.code_memory import CodeMemory
from zmqtasks.wire import payload

TEXT = "import os\ndone = os.environ.setdefault('EXECUTED', 'yes')\nvalue = 1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "parcel").mkdir()
    (tmp_path / "parcel" / "__init__.py").write_text("raise RuntimeError('executed')")
    (tmp_path / "parcel" / "inner.py").write_text(TEXT)
    (tmp_path / "single.py").write_text(TEXT)
    (tmp_path / "broken.py").write_text("def")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("single", None)


def code_of(spec: ModuleSpec | None) -> list[str]:
    assert spec is not None
    return list(spec.loader.get_code(spec.name).co_names)  # type: ignore[union-attr]


def test_code_is_remembered_and_nothing_is_executed(folder: Path) -> None:
    memory = CodeMemory()
    memory.learn("single")
    memory.learn("parcel.inner")
    assert "value" in code_of(memory.find_spec("single"))
    assert "value" in code_of(memory.find_spec("parcel.inner", [str(folder / "parcel")]))
    assert memory.find_spec("parcel") is not None


@pytest.mark.parametrize("name", ["broken", "no_such_module", "sys", "single.inner", "broken.inner"])
def test_what_has_no_code_is_left_to_the_worker(name: str, folder: Path) -> None:
    memory = CodeMemory()
    memory.learn(name)
    assert memory.find_spec(name) is None


def test_what_has_changed_is_read_anew(folder: Path) -> None:
    memory = CodeMemory()
    memory.learn("single")
    (folder / "single.py").write_text("value = 22\n")
    assert memory.find_spec("single") is None
    (folder / "single.py").unlink()
    assert memory.find_spec("single") is None


def test_a_package_that_looks_elsewhere_is_asked(folder: Path) -> None:
    memory = CodeMemory()
    memory.learn("parcel.inner")
    assert memory.find_spec("parcel.inner", ["elsewhere"]) is None


def test_it_is_asked_just_before_the_search_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    memory = CodeMemory()
    memory.learn("single")
    memory.install()
    import single  # type: ignore[import-not-found]

    assert single.value == 1
    assert single.__file__ == str(folder / "single.py")
    assert single.__spec__.cached.endswith(".pyc")


@pytest.mark.parametrize(
    ("body", "module"),
    [
        (payload.pack_name("package.module:Class.method"), "package.module"),
        (payload.pack_name("no colon"), ""),
        (payload.pack_name("two words:f"), ""),
        (payload.pack_name("m" * 2000 + ":f"), ""),
        (payload.pack_function(lambda: None), ""),
    ],
)
def test_the_module_of_a_function(body: bytes, module: str) -> None:
    assert payload.module_of(body) == module


@pytest.mark.skipif(not linux.AVAILABLE, reason="needs a zygote")
def test_workers_that_come_later_have_the_code_but_not_the_module(tmp_path: Path) -> None:
    text = "import os\npid = os.getpid()\ndef look(_):\n    return pid, type(__loader__).__name__\n"
    (tmp_path / "late_comer.py").write_text(text)
    program = str(tmp_path)
    sys.path.insert(0, program)
    try:
        import late_comer  # type: ignore[import-not-found]

        with Crew(slots=2) as crew:
            first = crew.ready(0)
            assert crew.results(late_comer.look, [None]) == {0: (first, "SourceFileLoader")}
            second = crew.ready(1)
            assert crew.results(late_comer.look, [None], slot=1) == {0: (second, "_Loader")}
            (tmp_path / "late_comer.py").write_text(text.replace("return pid", "return 'new'"))
            crew.force.kill(1)
            crew.until(lambda: 1 not in crew.force.pids())
            crew.events.clear()
            crew.ready(1)
            assert crew.results(late_comer.look, [None], slot=1) == {0: ("new", "SourceFileLoader")}
    finally:
        sys.path.remove(program)
        sys.modules.pop("late_comer", None)


def test_what_another_finder_gives_is_left_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(name, None) if name == "single" else None

    monkeypatch.setattr(sys, "meta_path", [Other, *sys.meta_path])
    memory = CodeMemory()
    memory.install()
    memory.learn("single")
    memory.learn("parcel.inner")
    assert memory.find_spec("single") is None
    assert memory.find_spec("parcel.inner", [str(folder / "parcel")]) is not None


@pytest.fixture
def imports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeMemory]:
    """Give a memory that is asked first, in a folder with a sound package."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (folder / "sound").mkdir()
    (folder / "sound" / "__init__.py").write_text("name = __name__\n")
    (folder / "sound" / "inner.py").write_text(
        "import sound.inner as me\npartial = not hasattr(me, 'later')\nlater = 1\n"
    )
    before = set(sys.modules)
    memory = CodeMemory()
    for name in ("single", "parcel.inner", "sound.inner"):
        memory.learn(name)
    memory.install()
    yield memory
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_short_way_gives_what_an_import_gives(imports: CodeMemory) -> None:
    inner = imports.import_module("sound.inner")
    assert (inner.partial, inner.later) == (True, 1), "it was there while it was executed, and not yet complete"
    assert sys.modules["sound"].inner is inner is imports.import_module("sound.inner")
    short = {name: dict(vars(sys.modules.pop(name))) for name in ("sound", "sound.inner")}
    importlib.import_module("sound.inner")
    for name in short:
        usual = vars(sys.modules[name])
        ours = short[name]
        assert list(ours) == list(usual)
        for attribute in ("__name__", "__package__", "__file__", "__cached__", "__path__"):
            assert ours.get(attribute) == usual.get(attribute)
        assert not ours["__spec__"]._initializing


def test_a_module_that_fails_is_imported_anew_next_time(imports: CodeMemory, folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="executed"):
            imports.import_module("parcel.inner")
        assert not {"parcel", "parcel.inner"} & set(sys.modules)
    (folder / "parcel" / "__init__.py").write_text("")
    assert imports.import_module("parcel.inner").value == 1


def test_a_module_may_put_another_in_its_place(imports: CodeMemory, folder: Path) -> None:
    (folder / "deputy.py").write_text("import sys, types\nsys.modules[__name__] = types.SimpleNamespace(it='other')\n")
    imports.learn("deputy")
    assert imports.import_module("deputy").it == "other"


def test_what_has_changed_or_was_put_before_goes_the_usual_way(imports: CodeMemory, folder: Path) -> None:
    (folder / "single.py").write_text("value = 22\n")
    assert imports.import_module("single").value == 22
    sys.modules["sound"] = ModuleType("sound")
    with pytest.raises(ModuleNotFoundError, match="not a package"):
        imports.import_module("sound.inner")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        imports.import_module("nowhere")
