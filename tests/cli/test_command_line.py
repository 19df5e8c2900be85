"""What is refused before anything starts, and how: one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli.programs import ROOT, environment
from zmqtasks.cli.app import program

COMMANDS = ("run", "worker", "sink", "ventilator", "status", "drain", "stop", "keygen")


def invoke(*args: str) -> Result:
    return CliRunner().invoke(program, args)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in an empty folder, with a search path that is put back afterwards; modules found here are forgotten.

    No others are: a module that is imported again has other classes than what was imported before.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert f"zmqtasks {name}" in result.output.partition("Examples:")[2]


def test_every_option_has_help() -> None:
    options = [option for name in COMMANDS for option in program.commands[name].params if option.opts[0] != "--help"]
    assert [o.name for o in options if o.param_type_name == "option" and not getattr(o, "help", None)] == []


def test_help_needs_neither_the_mesh_nor_rich() -> None:
    code = (
        "import sys; sys.argv[1:] = ['run', '--help']\n"
        "from zmqtasks.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('zmq', 'msgpack', 'rich', 'asyncio') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), cwd=ROOT, check=True)
    assert done.stderr.decode().strip() == "[]"


def test_the_version() -> None:
    assert invoke("--version").output.startswith("zmqtasks 0.")


def test_without_a_command_the_help_is_shown() -> None:
    assert "Commands:" in invoke().output


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["run"], "Missing argument 'MODULE:FUNCTION'"),
        (["run", "math"], "'math' is not MODULE:FUNCTION"),
        (["run", "tools/math.py:sqrt"], "write it as a module, tools.math:sqrt"),
        (["run", "math:sqrt", "nosuch.jsonl"], "INPUT nosuch.jsonl: no such file"),
        (["run", "math:sqrt", "."], "it is a folder; with --paths"),
        (["run", "math:sqrt", "--lines", "--spread", "-"], "--lines and --spread exclude each other"),
        (["run", "math:sqrt", "--match", "*.py", "-"], "needs --paths"),
        (["run", "math:sqrt", "-", "--timeout", "soon"], "'soon' is not a duration"),
        (["run", "math:sqrt", "-", "--timeout", "0"], "timeout must be above 0"),
        (["run", "math:sqrt", "-", "--grace", "0"], "grace must be above 0"),
        (["worker", "--timeout", "0 s"], "'0 s' must be above 0 seconds"),
        (["run", "math:sqrt", "-", "--max-memory", "much"], "'much' is not a size"),
        (["run", "math:sqrt", "-", "--serializer", "msgpack"], "is not a @task"),
        (["run", "math:sqrt", "-", "--append", "--overwrite"], "exclude each other"),
        (["run", "math:sqrt", "-", "-o", "results.csv"], "there is no CSV"),
        (["run", "math:sqrt", "-", "-o", "no/such/folder.db"], "cannot write results"),
        (["run", "math:sqrt", "-", "--node", "127.0.0.1"], "is not an address"),
        (["run", "math:sqrt", "-", "--node", "127.0.0.1:99999"], "is not an address"),
        (["run", "math:sqrt", "-", "--node", "127.0.0.1:1", "--workers", "2"], "--workers: for a node that is started"),
        (["run", "math:sqrt", "-", "--ports", "7700-7710"], "--ports: for what --bind says"),
        (["run", "math:sqrt", "-", "--node", "10.0.0.7:7700"], "give all members the key that zmqtasks keygen makes"),
        (
            ["run", "math:sqrt", "-", "--node", "10.0.0.7:7700", "--bind", "10.0.0.5:0"],
            "give all members the key that zmqtasks keygen makes",
        ),
        (["ventilator", "math:sqrt", "-"], "Missing option '--node'"),
        (
            ["ventilator", "math:sqrt", "-", "--node", "[::1]:1", "--sink", "[::1]:2", "-o", "x"],
            "--output: for results",
        ),
        (["worker", "--bind", "0.0.0.0:0"], "give all members the key that zmqtasks keygen makes"),
        (["worker", "--bind", "*:0", "--insecure"], "say with --advertise HOST:PORT"),
        (["worker", "--bind", "10.0.0.5:0", "--insecure", "--key", "x"], "--insecure is for a mesh without a key"),
        (["worker", "--bind", "127.0.0.1:0", "--key", "nosuch.key"], "cannot read the key nosuch.key"),
        (["worker", "--ports", "7720-7700"], "'7720-7700' is not a port, or a range of ports"),
        (["worker", "--bind", "127.0.0.1:1-99999"], "is not a port, or a range of ports"),
        (["worker", "--local", "--ports", "7700-7720"], "--local opens no port"),
        (["worker", "--workers", "0"], "0 is not in the range"),
        (["worker", "--memory", "much"], "'much' is not a size"),
        (["worker", "--memory", "0"], "--memory must be above 0"),
        (["worker", "--memory-stop", "1.5"], "1.5 is not in the range"),
        (["worker", "--memory-pause", "0.99"], "--memory-pause must not be above --memory-stop"),
        (["sink"], "Missing option '-o'"),
        (["sink", "-o", "results.csv"], "there is no CSV"),
        (
            ["sink", "--bind", "10.0.0.5:7710", "-o", "results.db"],
            "give all members the key that zmqtasks keygen makes",
        ),
        (["status", "--node", "10.0.0.5:7710"], "give all members the key that zmqtasks keygen makes"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(here: Path, args: list[str], expected: str) -> None:
    result = invoke(*args)
    assert expected in result.stderr
    assert result.stderr.startswith("zmqtasks: ")
    assert [line for line in result.stderr.splitlines() if "INSECURE" not in line][1:] == []
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nosuch:f", "No module named 'nosuch'; looked in the current folder"),
        ("nosuch.deep:f", "No module named 'nosuch'; looked in the current folder"),
        ("math:nosuch", "module 'math' has no function 'nosuch'"),
        ("math:pi", "which cannot be called"),
        ("broken:f", "broken.py:1"),
        ("raising:f", "ZeroDivisionError: division by zero ({}/raising.py:2)"),
        ("needing:f", "No module named 'absent' ({}/needing.py:1)"),
        ("leaving:f", "called sys.exit() while it was imported"),
    ],
)
def test_what_cannot_be_imported_exits_3(here: Path, name: str, expected: str) -> None:
    (here / "broken.py").write_text("def f(:\n")
    (here / "raising.py").write_text("print('loud')\n1 / 0\n")
    (here / "needing.py").write_text("import absent\n")
    (here / "leaving.py").write_text("import sys\nsys.exit(7)\n")
    result = invoke("run", name, "-")
    assert f"zmqtasks: error: cannot import {name}: " in result.stderr
    assert expected.format(here) in result.stderr
    assert "Traceback" not in result.stderr
    assert (result.exit_code, result.stdout) == (3, "")


def test_a_lease_has_to_outlast_the_beat() -> None:
    result = invoke("run", "math:factorial", "-", "--node", "127.0.0.1:1", "--lease", "1 s")
    assert "must be 2 s or more" in result.stderr
    assert result.exit_code == 2
    alone = invoke("run", "math:factorial", "-", "--lease", "10 s")
    assert "--lease: for nodes of --node" in alone.stderr
    assert alone.exit_code == 2
