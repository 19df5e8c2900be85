"""What to decide: pure machines without I/O, clock or chance. See docs/design/architecture.md."""
