"""Questions, one a file: the work, who runs it, and how an answer is checked. See `cases.case`."""
