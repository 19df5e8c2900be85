"""One case a module: what is promised, measured on this machine."""
