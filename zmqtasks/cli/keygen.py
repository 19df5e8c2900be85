"""`zmqtasks keygen`: a key for a mesh.

Owns the command line. What a key is stands in `transport/keys.py`, which is imported only when this runs.
"""

from __future__ import annotations

import click

from zmqtasks.cli.exits import Exit, say

ROLES = ("submit", "node", "sink", "admin")
"""As in `machines/authority.py`, which a command line need not have loaded."""


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Of one peer; repeatable.")
def keygen(file: str, roles: tuple[str, ...]) -> int:
    """Write a new key to FILE. Whoever has it is a member of the mesh: can connect, and run code on its nodes.

    The file is readable for its owner alone. Bring it to each machine over a safe way, and name it there with --key or
    in the environment variable ZMQTASKS_KEY. All connections between machines are then encrypted, and both ends have to
    prove that they have the key.

    \b
    Examples:
      zmqtasks keygen mesh.key
      scp -p mesh.key 10.0.0.7:
      ssh 10.0.0.7 zmqtasks worker --bind 10.0.0.7:7700 --key mesh.key
      zmqtasks run package.module:function input.jsonl --node 10.0.0.7:7700 --key mesh.key

    With --role it is the key of one peer, with its public half beside it. Whoever has that half in the folder
    authorized_keys.d, beside the file of its own key, lets that peer in, in these roles, as long as it is there.

    \b
      zmqtasks keygen ada.key --role submit --role admin
      zmqtasks keygen seven.key --role node

    Exit code 2 where FILE is there already: it is left as it is.
    """
    from zmqtasks.transport.keys import AUTHORIZED, new_pair, write_pair

    public = write_pair(file, new_pair(), roles)
    if public:
        say(f"wrote {file}, which stays here, and {public}: bring that to {AUTHORIZED} of those who shall let it in")
    else:
        say(f"wrote {file}; whoever has it is a member, so bring it to the others over a safe way")
    return Exit.OK
