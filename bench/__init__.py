"""Measurements: JSON lines in `results/`, each record with machine and versions. Not part of the package."""
