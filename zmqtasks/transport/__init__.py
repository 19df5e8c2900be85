"""Ways between peers: ZeroMQ between hosts, Unix sockets on one host. The only importer of zmq."""
