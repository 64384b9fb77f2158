"""Who may use which models: the rules alone."""

from __future__ import annotations

import pytest

from agent.config import Access as Table
from agent.runtime.host.access import Access, Allowance, Caller
from littoral.errors import AccessDeniedError, ConfigError

USERS = {"ann": 1001, "bob": 1002}
GROUPS = {"cameras": 2001, "doors": 2002}
ROOT = Caller(0, frozenset((0,)))
ANN = Caller(1001, frozenset((1001,)))
CAMERA = Caller(1003, frozenset((1003, 2001)))


def access(*tables: Table) -> Access:
    return Access(tables, frozenset((0, 900)), USERS.__getitem__, GROUPS.__getitem__)


def test_without_a_rule_everybody_may_use_all() -> None:
    assert access().check(ANN, "m") == Allowance()


def test_the_first_rule_that_names_model_and_caller_counts() -> None:
    rules = access(
        Table(models=("m",), users=("bob",), requests_per_s=1.0),
        Table(models=("m", "n"), users=("ann",), requests_per_s=2.0),
        Table(groups=("cameras",), max_frame_bytes=3),
        Table(users=("1001",), requests_per_s=4.0),
    )
    assert rules.check(ANN, "m") == Allowance(2.0)
    assert rules.check(ANN, "other") == Allowance(4.0)
    assert rules.check(CAMERA, "m") == Allowance(0.0, 3)


def test_a_rule_without_users_and_groups_names_everybody() -> None:
    assert access(Table(models=("m",), requests_per_s=5.0)).check(ANN, "m") == Allowance(5.0)


def test_who_is_named_by_no_rule_is_told_which_group_to_join() -> None:
    rules = access(Table(models=("m",), groups=("doors", "cameras")), Table(models=("n",), users=("bob",)))
    with pytest.raises(AccessDeniedError, match="Join the group cameras or doors"):
        rules.check(ANN, "m")
    with pytest.raises(AccessDeniedError, match="Ask the operator"):
        rules.check(ANN, "n")


def test_root_and_the_runtimes_own_user_always_may() -> None:
    rules = access(Table(models=("m",), users=("bob",), requests_per_s=1.0))
    assert rules.check(ROOT, "m") == rules.check(Caller(900, frozenset()), "n") == Allowance()


def test_a_name_that_nobody_has_is_refused_at_start() -> None:
    with pytest.raises(ConfigError, match="group 'nobody-has-this'"):
        access(Table(groups=("nobody-has-this",)))
    with pytest.raises(ConfigError, match="user"):
        access(Table(users=("nobody-has-this",)))
