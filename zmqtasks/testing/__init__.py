"""Public fakes for tests: a clock, a network, a mesh on this machine."""
