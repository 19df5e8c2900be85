"""Worker processes: how they start, talk, are watched and end. The only importer of subprocess, signal and psutil."""
