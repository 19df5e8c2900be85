"""Faults made on real processes: programs that take minutes to hours, and no tests for pytest.

    python -m tests.mesh.chaos node --times 200
    python -m tests.mesh.chaos storm --seconds 1800 --out chaos.jsonl
    python -m tests.mesh.chaos --quick all

A scenario is a module with a function `run(frame: Frame) -> Figures`, and a line in `registry.py`.
"""
