"""Functions that print in every way; tests send them to workers by name."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

logger = logging.getLogger("tests.talkers")


def say(text: str) -> str:
    print(text)
    return text


def complain(text: str) -> str:
    print(text, file=sys.stderr)
    return text


def log_it(text: str) -> str:
    logger.info("for your information: %s", text)
    logger.warning("take care: %s", text)
    return text


def log_a_traceback(text: str) -> str:
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("it failed")
    return text


def set_up_logging() -> None:
    logging.basicConfig(level=logging.INFO, format="own format: %(message)s")


def set_up_and_log(text: str) -> str:
    set_up_logging()
    return log_it(text)


def say_lines(count: int, pause_s: float = 0.0) -> int:
    for number in range(count):
        print(f"line {number}")
        time.sleep(pause_s)
    return count


def say_much(nbytes: int) -> int:
    lines = ("x" * 99 + "\n") * 10
    for _ in range(nbytes // len(lines)):
        sys.stdout.write(lines)
    sys.stdout.flush()
    return nbytes


def say_much_and_crash(nbytes: int) -> None:
    say_much(nbytes)
    say_lines(60)
    os.kill(os.getpid(), signal.SIGKILL)


def say_without_an_end(nbytes: int) -> int:
    piece = b"y" * 65536
    for _ in range(nbytes // len(piece)):
        os.write(1, piece)
    return nbytes


def say_junk(nbytes: int) -> int:
    junk = os.urandom(65536)
    for _ in range(nbytes // len(junk)):
        os.write(2, junk)
    return nbytes


def say_from_c(text: str) -> str:
    os.write(1, f"{text}\n".encode())
    return text


def say_from_a_grandchild(text: str) -> str:
    subprocess.run([sys.executable, "-c", f"print({text!r})"], check=True)
    return text


def leave_a_talking_child(text: str) -> str:
    subprocess.Popen(["sh", "-c", f"sleep 0.2; echo {text}; exec sleep 300"])
    return text


def say_half(text: str, pause_s: float) -> str:
    sys.stdout.write(text)
    sys.stdout.flush()
    time.sleep(pause_s)
    return text


def close_descriptors(_: object) -> None:
    os.close(1)
    os.close(2)


def close_stream(_: object) -> None:
    sys.stdout.close()
    sys.stderr.close()


def close_buffer(_: object) -> None:
    sys.stdout.buffer.close()


def remove_streams(_: object) -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


def detach_streams(_: object) -> None:
    with contextlib.suppress(ValueError):
        sys.stdout.detach()  # type: ignore[attr-defined]


def close_and_speak(value: int, way: str, at: int) -> int:
    """Close the streams at one task of a chunk; all others print."""
    if value == at:
        WAYS[way](value)
    else:
        print("value", value)
    return value


WAYS = {
    function.__name__: function
    for function in (close_descriptors, close_stream, close_buffer, remove_streams, detach_streams)
}


def touch_and_wait(folder: str, name: str) -> str:
    Path(folder, name).touch()
    print(f"{name} waits")
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    return name
