"""Those who run work: one small file each, used as its own documentation says is best. See `peers.peer`."""
