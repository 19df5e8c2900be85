"""How long programs and nodes wait for each other, where nobody says otherwise.

Owns these numbers, in seconds, and imports nothing: they stand in the signature of `Client`, which starts a node before
it imports the rest of the settings. Imported by whoever waits.
"""

CONNECT_S = 10.0
"""How long the first node may take to answer."""
LEASE_S = 60.0
"""How long a node keeps what a silent client gave it; no node grants more."""
LEAST_LEASE_S = 2.0
"""Twice the beat: less would be the end of a client that is well."""
