"""The host: the process that listens, forks workers and trial children, and decides which release is served."""
