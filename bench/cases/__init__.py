"""One question a module, with its own command line; each prints a record and may append it to a file."""
