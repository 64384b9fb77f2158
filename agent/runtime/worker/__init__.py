"""A worker: one release's model, and the client connections bound to it, in one process."""
