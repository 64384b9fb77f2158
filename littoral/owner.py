"""Root acting as another user: what it writes into a folder belongs to the folder's owner.

Commands that root runs on a daemon's folder use it. It changes nothing where somebody else calls.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Acts as the owner of `folder`, with all groups of that user, where root calls: what is written is his, and no
    link that he put there leads to what only root may read or write. Raises OSError."""
    if os.getuid() != 0:
        yield
        return
    owner, groups = folder.stat(), os.getgroups()
    os.setgroups(_groups_of(owner.st_uid, owner.st_gid))
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(os.getgid())
        os.setgroups(groups)


def _groups_of(uid: int, gid: int) -> list[int]:
    import pwd

    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


@contextlib.contextmanager
def as_caller() -> Iterator[None]:
    """Within as_owner: acts as whoever called, to open what perhaps only he may read."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == os.getuid():
        yield
        return
    os.seteuid(os.getuid())
    os.setegid(os.getgid())
    try:
        yield
    finally:
        os.setegid(gid)
        os.seteuid(uid)
