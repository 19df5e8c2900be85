"""The machines: histories with their exact outcome, random worlds against a model, and one long run each.

Nothing here has a clock, a thread or a socket: `now` is a number the test moves.
"""
