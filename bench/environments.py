"""Make the virtual environments of the peers, one after the other.

    python -m bench.environments [PEER ...]

Owns the folder `.venv-peers`. An environment is named as the file of its peer, and gets what `peers.KNOWN` says, and
numpy. One that cannot be made is named, and the others are made all the same. Called by `make bench-peers`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.peers import KNOWN, Known

COMMON = ("numpy>=1.26",)
NICENESS = 15


def make(known: Known) -> bool:
    """Make the environment of a peer; return whether it is there."""
    stamp = known.environment / ".installed"
    wanted = "\n".join((*known.requires, *COMMON))
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"bench: {known.module}: is there")
        return True
    print(f"bench: {known.module}: installing {', '.join(known.requires)}", flush=True)
    shutil.rmtree(known.environment, ignore_errors=True)
    pip = [str(known.environment / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", known.environment], check=True)
        subprocess.run([*pip, *known.requires, *COMMON], check=True)
    except subprocess.CalledProcessError as error:
        print(f"bench: {known.module}: cannot be installed, and will be skipped: {error}", file=sys.stderr)
        return False
    stamp.write_text(wanted)
    return True


def main(words: list[str]) -> int:
    """Make those that are asked for, all where none is."""
    os.nice(NICENESS)
    wanted = {known.module: known for name, known in KNOWN.items() if known.requires}
    asked = [wanted[word] for word in words if word in wanted] if words else list(wanted.values())
    if words and len(asked) < len(words):
        print(f"bench: there are {', '.join(wanted)}", file=sys.stderr)
        return 2
    for known in asked:
        if known.program and not shutil.which(known.program):
            print(f"bench: {known.module} needs {known.program}; on Debian and Ubuntu: apt install {known.program}")
    made = [make(known) for known in asked]
    return 0 if all(made) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
