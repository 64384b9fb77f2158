"""A stand-in for the runtime, for the tests of apps: it speaks the real protocol and answers the same every time.

    sees = (Box("person", 0.9, 10, 20, 110, 220),)
    with FakeServer({"person-detect": FakeModel(labels=("person",), sees=sees)}) as server:
        client = Client("person-detect", server.socket)

It runs no model, and is not for measuring. `python -m littoral.fake` serves apps in other languages. docs/clients.md
shows how to test with it.
"""

from littoral.fake.model import FakeModel
from littoral.fake.server import FakeServer

__all__ = ["FakeModel", "FakeServer"]
