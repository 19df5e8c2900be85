"""The commands; the only importer of click and rich."""
