"""Who may use which models, and how much: the [[access]] tables of agent.toml, as rules about user and group ids.

It knows no socket: who calls is told to it.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.config import Access as Table
from littoral.errors import AccessDeniedError, ConfigError

EVERY = "*"


@dataclass(frozen=True, slots=True)
class Caller:
    """The process at the other end of a connection, as the kernel knows it."""

    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller may do. 0: no limit but the model's own."""

    requests_per_s: float = 0.0
    max_frame_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Rule:
    """One table, with names as numbers."""

    models: frozenset[str]
    uids: frozenset[int]
    gids: frozenset[int]
    groups: tuple[str, ...]  # as the operator wrote them
    everybody: bool
    allowance: Allowance

    def names(self, caller: Caller) -> bool:
        return self.everybody or caller.uid in self.uids or not self.gids.isdisjoint(caller.gids)

    def covers(self, model: str) -> bool:
        return EVERY in self.models or model in self.models


class Access:
    """Decides. With no rule everybody may use all; `trusted` users always may."""

    def __init__(
        self,
        tables: Sequence[Table],
        trusted: frozenset[int],
        uid_of: Callable[[str], int],
        gid_of: Callable[[str], int],
    ) -> None:
        """`uid_of` and `gid_of` raise KeyError for a name nobody has; then this raises ConfigError."""
        self._trusted = trusted
        self._rules = [
            _Rule(
                frozenset(table.models),
                frozenset(_number(name, uid_of, "user") for name in table.users),
                frozenset(_number(name, gid_of, "group") for name in table.groups),
                table.groups,
                not table.users and not table.groups,
                Allowance(table.requests_per_s, table.max_frame_bytes),
            )
            for table in tables
        ]

    def check(self, caller: Caller, model: str) -> Allowance:
        """What this caller may ask of this model. Raises AccessDeniedError, which names the groups that may."""
        if not self._rules or caller.uid in self._trusted:
            return Allowance()
        covering = [rule for rule in self._rules if rule.covers(model)]
        for rule in covering:
            if rule.names(caller):
                return rule.allowance
        groups = sorted({group for rule in covering for group in rule.groups})
        operator = "an [[access]] table in agent.toml can let it"
        raise AccessDeniedError(
            f"user {caller.uid} may not use {model}",
            remedy=f"Join the group {' or '.join(groups)}, or ask the operator: {operator}."
            if groups
            else f"Ask the operator: {operator}.",
        )


def of_device(tables: Sequence[Table], state: Path) -> Access:
    """As this machine's user database names users and groups. Raises ConfigError.

    Trusted are root, this process's own user, and the agent's, whose folder `state` is.
    """
    import grp
    import pwd

    trusted = {0, os.geteuid()}
    with suppress(OSError):  # one file served by itself has no such folder
        trusted.add(state.stat().st_uid)
    return Access(
        tables, frozenset(trusted), lambda name: pwd.getpwnam(name).pw_uid, lambda name: grp.getgrnam(name).gr_gid
    )


def _number(name: str, number_of: Callable[[str], int], kind: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return number_of(name)
    except KeyError as error:
        raise ConfigError(
            f"agent.toml: access names the {kind} {name!r}, which there is not", remedy=f"Create the {kind} first."
        ) from error
