"""Root acts as the owner of a folder."""

import os
from pathlib import Path

import pytest

from littoral.owner import as_caller, as_owner

SOMEBODY = 12_345


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_root_acts_as_the_owner_and_opens_as_itself(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    theirs = tmp_path / "state"
    theirs.mkdir()
    os.chown(theirs, SOMEBODY, SOMEBODY)
    (tmp_path / "mine").mkdir(0o700)
    groups = os.getgroups()
    with as_owner(theirs):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (SOMEBODY, SOMEBODY, [SOMEBODY])
        with pytest.raises(PermissionError):
            (tmp_path / "mine" / "x").touch()
        with as_caller():
            (tmp_path / "mine" / "x").touch()
        assert os.geteuid() == SOMEBODY
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)
