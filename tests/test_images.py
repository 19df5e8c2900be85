"""The files of docker/, looked at by hadolint and the schema of compose: neither needs a network, nor docker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


def checked(tool: str, *args: str) -> None:
    """Run a checker that lies beside this Python, and fail with what it complains of."""
    program = Path(sys.executable).with_name(tool)
    if not program.exists():
        pytest.skip(f"{tool} is not installed; make check-images installs and runs it")
    done = subprocess.run([str(program), *args], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_has_nothing_to_say() -> None:
    checked("hadolint", "docker/Dockerfile")


def test_the_compose_file_is_one() -> None:
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker/compose.yaml")


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    names = {name.replace("[s]", "s") for line in copied for name in line.split()}
    assert names == kept
    assert all((ROOT / name).exists() for name in names - {"docker/wheels"})
