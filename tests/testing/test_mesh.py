"""`local_mesh`: real nodes, and nothing of them left."""

from __future__ import annotations

import os

import pytest

import zmqtasks
import zmqtasks.testing


def test_its_nodes_take_work() -> None:
    with zmqtasks.testing.local_mesh(nodes=2) as addresses, zmqtasks.Client(*addresses) as client:
        assert len(addresses) == 2
        assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)
        assert list(client.map(abs, range(-20, 0))) == list(range(20, 0, -1))
        assert client.submit(os.getpid).result() != os.getpid()


def test_its_nodes_serve_one_client_after_the_other() -> None:
    with zmqtasks.testing.local_mesh() as addresses:
        for _ in range(2):
            with zmqtasks.Client(*addresses) as client:
                assert client.submit(pow, 2, 10).result() == 1024


def test_an_error_in_the_block_ends_its_nodes() -> None:
    with pytest.raises(KeyError), zmqtasks.testing.local_mesh():
        raise KeyError


def test_it_has_at_least_one_node_and_one_worker() -> None:
    with pytest.raises(ValueError, match="nodes must be 1 or more"), zmqtasks.testing.local_mesh(nodes=0):
        pass
    with pytest.raises(ValueError, match="workers must be 1 or more"), zmqtasks.testing.local_mesh(workers=0):
        pass


def test_public_names_are_loaded_when_they_are_used() -> None:
    assert set(zmqtasks.testing.__all__) <= set(dir(zmqtasks.testing))
    for name in zmqtasks.testing.__all__:
        assert getattr(zmqtasks.testing, name).__module__.startswith("zmqtasks.testing.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zmqtasks.testing.nothing
