"""The Update Framework's client as this device runs it: python-tuf's rules, and a folder that keeps what was verified.

The folder has python-tuf's names: `root.json` (the newest), `root_history/<n>.root.json`, `timestamp.json`,
`snapshot.json`, `targets.json` and the delegated roles. Each file is written through fsio as a whole or not at all,
roots first, in the order in which they verified, so that a power cut leaves what an earlier step left. A file that
cannot be read, or does not verify any more, is as if it were not there: python-tuf asks for it anew.

Imported only where something is verified: it takes tuf and cryptography into memory.
"""

# ruff: noqa: E402, the stub of the HTTP client has to be there before python-tuf is imported

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

_FETCHER = "tuf.ngclient.urllib3_fetcher"
if _FETCHER not in sys.modules:
    # The library would load an HTTP client that nobody here uses.
    _stub = ModuleType(_FETCHER)
    vars(_stub)["Urllib3Fetcher"] = type("Urllib3Fetcher", (), {})
    sys.modules[_FETCHER] = _stub

from tuf.api import exceptions
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

import littoral.bundle.keys  # noqa: F401, from here on python-tuf verifies by its classes
from agent import fsio
from littoral.errors import ExpiredMetadataError, MetadataError, ReplayedMetadataError

__all__ = ["FetcherInterface", "FrameworkClient", "UpdaterConfig", "named_errors"]


class FrameworkClient(Updater):
    """One look at a repository. `now` is the time to judge expiry by, seconds since 1970.

    `bootstrap` is the root to begin from; the roots in `folder` that follow it are followed without asking. Raises
    RepositoryError where it does not verify by itself, OSError where the folder does not take what was verified.

    What it overrides is private in python-tuf 7; tests fail where a newer one no longer goes this way.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        fetcher: FetcherInterface,
        config: UpdaterConfig,
        bootstrap: bytes,
        now: int,
        targets: tuple[str, str] | None = None,
        roots_only: bool = False,
    ) -> None:
        """`targets`: where targets are kept, and the URL they come from; None where none are downloaded.

        `roots_only`: nothing is kept but new roots, so that this look makes no later one seem a replay.
        """
        self._roots_only = roots_only
        fsio.make_folder(folder / "root_history")
        target_dir, target_url = targets or (None, None)
        super().__init__(str(folder), url, target_dir, target_url, fetcher, config, bootstrap=bootstrap)
        self._trusted_set.reference_time = datetime.fromtimestamp(now, UTC)

    @property
    def root_version(self) -> int:
        """Version of the newest root that verified."""
        return self._trusted_set.root.version

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        if not self._roots_only or path.parent.name == "root_history":
            _keep(path, data)

    def _update_root_symlink(self) -> None:
        folder = Path(self._dir)
        _keep(folder / "root.json", fsio.read(folder / "root_history" / f"{self.root_version}.root.json"))


def _keep(path: Path, data: bytes) -> None:
    with contextlib.suppress(OSError):
        if fsio.read(path) == data:
            return  # most looks find nothing new, and flash wears
    fsio.write_file(path, data)


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Raises python-tuf's errors as ours: ExpiredMetadataError, ReplayedMetadataError, else MetadataError."""
    try:
        yield
    except exceptions.ExpiredMetadataError as error:
        raise ExpiredMetadataError(str(error)) from error
    except exceptions.BadVersionNumberError as error:
        raise ReplayedMetadataError(str(error)) from error
    except (exceptions.RepositoryError, exceptions.DownloadError) as error:
        raise MetadataError(str(error) or type(error).__name__) from error
