"""littoral/errors/, names.py, canonical.py, tensors.py: the small words both ends share."""

import hashlib
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral import canonical, errors
from littoral.names import check_name
from littoral.tensors import DTYPES, Interface, Tensor

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["a", "person-detect", "0", "x" * 63])
def test_good_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a/b", "..", "x" * 64, "a\n", None, 3])
def test_bad_names_are_a_named_error(name: object) -> None:
    with pytest.raises(errors.BadNameError):
        check_name(name)


@given(JSON)
def test_canonical_json_is_one_byte_string_for_one_value(value: object) -> None:
    data = canonical.encode(value)
    assert canonical.encode(json.loads(data)) == data
    assert json.loads(data) == value


@pytest.mark.parametrize("value", [1.5, [1.0], {"a": {"b": float("nan")}}, {1: 2}])
def test_canonical_json_has_no_floats_and_only_string_keys(value: object) -> None:
    with pytest.raises(TypeError):
        canonical.encode(value)


def test_a_digest_is_sha256() -> None:
    assert canonical.digest(b"x") == hashlib.sha256(b"x").hexdigest()


def test_every_code_belongs_to_one_error_and_gives_it_back() -> None:
    found = errors.all_errors()
    assert len(found) > 40
    for code, cls in found.items():
        if cls is errors.DigestError:
            continue
        error = errors.by_code(code, "because")
        assert type(error) is cls
        assert error.cause == "because"


def test_an_unknown_code_is_still_an_error() -> None:
    assert "from-the-future: because" in str(errors.by_code("from-the-future", "because"))


@pytest.mark.parametrize("error", [errors.BusyError("full", remedy="wait"), errors.DigestError("aa", "bb")])
def test_an_error_survives_a_pickle(error: errors.LittoralError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_error_says_cause_and_remedy() -> None:
    assert str(errors.TokenUsedError("it was used")).startswith("it was used. A token serves once")
    assert str(errors.TokenUsedError("it was used", remedy="")) == "it was used"


@given(
    st.builds(
        Tensor,
        st.text(max_size=20),
        st.sampled_from(sorted(DTYPES)),
        st.lists(st.integers(1, 512), max_size=4).map(tuple),
        st.floats(0, 10, width=32),
        st.integers(-128, 255),
    )
)
def test_an_interface_is_the_same_after_a_wire(tensor: Tensor) -> None:
    interface = Interface((tensor,), (tensor,), ("cat", "dog"))
    again = Interface.from_json(json.loads(json.dumps(interface.to_json())))
    assert again == interface
    assert again.digest == interface.digest


def test_every_part_of_an_interface_changes_its_digest() -> None:
    base = Tensor("x", "int8", (1, 2), 0.5, 3)
    others = [
        Tensor("y", "int8", (1, 2), 0.5, 3),
        Tensor("x", "uint8", (1, 2), 0.5, 3),
        Tensor("x", "int8", (2, 1), 0.5, 3),
        Tensor("x", "int8", (1, 2), 0.5000001, 3),
        Tensor("x", "int8", (1, 2), 0.5, 4),
    ]
    digests = {Interface((t,), ()).digest for t in (base, *others)}
    digests |= {Interface((), (base,)).digest, Interface((base,), (), ("a",)).digest}
    assert len(digests) == 8


def test_sizes_are_bytes() -> None:
    tensor = Tensor("x", "float32", (2, 3))
    assert tensor.size_bytes == 24
    assert Interface((tensor, tensor), (tensor,)).input_bytes == 48
    assert Tensor("scalar", "int64", ()).size_bytes == 8
