"""Bridges to other task systems and frameworks, each behind an extra. Nothing yet."""
