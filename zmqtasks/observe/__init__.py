"""Metrics, tracing and dashboards of a mesh, each behind an extra. Nothing yet."""
