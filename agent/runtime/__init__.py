"""Serves models: host, workers, engines. It knows no network and no keys, and writes nothing durable."""
