"""ZeroMQ: sockets, inbox and outbox. The only importer of zmq."""
