"""The device: serves models, takes updates, judges them."""
