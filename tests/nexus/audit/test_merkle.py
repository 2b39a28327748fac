"""Roots and proofs, against another implementation: the recursive one of the RFC, word for word."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.audit.rules import merkle

MOST = 1_025
LEAVES = [merkle.leaf_hash(str(number).encode()) for number in range(MOST)]


def _split(count: int) -> int:
    """Return k: the largest power of two smaller than `count`."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def rfc_root(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, MTH over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return sha256(b"\x01" + rfc_root(leaves[:k]) + rfc_root(leaves[k:])).digest()


def rfc_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162 §2.1.3.1, PATH."""
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*rfc_path(index, leaves[:k]), rfc_root(leaves[k:])]
    return [*rfc_path(index - k, leaves[k:]), rfc_root(leaves[:k])]


def test_a_leaf_is_the_hash_of_a_zero_and_the_bytes():
    assert merkle.leaf_hash("é".encode()) == sha256(b"\x00\xc3\xa9").digest()
    assert merkle.root([LEAVES[0]]) == LEAVES[0]


def test_the_rfcs_own_empty_leaf():
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@pytest.mark.parametrize("first", range(1, MOST + 1, 128))
def test_every_size_has_the_rfcs_root(first):
    for count in range(first, min(first + 128, MOST + 1)):
        assert merkle.root(LEAVES[:count]) == rfc_root(LEAVES[:count]), count


def test_every_leaf_of_small_trees_has_the_rfcs_path():
    for count in range(1, 70):
        leaves = LEAVES[:count]
        tree = merkle.levels(leaves)
        for index in range(count):
            path = merkle.path(tree, index)
            assert path == rfc_path(index, leaves)
            assert merkle.root_by(path, leaf=leaves[index], index=index, count=count) == merkle.root(leaves)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), count=st.integers(1, MOST))
def test_any_leaf_of_any_tree_has_the_rfcs_path_and_no_other_leads_to_the_root(data, count):
    leaves = LEAVES[:count]
    index = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1))
    root = merkle.root(leaves)
    path = merkle.path(merkle.levels(leaves), index)

    assert path == rfc_path(index, leaves)
    assert merkle.root_by(path, leaf=leaves[index], index=index, count=count) == root
    assert (merkle.root_by(path, leaf=leaves[other], index=index, count=count) == root) == (other == index)
    assert (merkle.root_by(path, leaf=leaves[index], index=other, count=count) == root) == (other == index)
    assert merkle.root_by([*path, root], leaf=leaves[index], index=index, count=count) != root
    assert merkle.root_by(path[:-1], leaf=leaves[index], index=index, count=count) != root or not path
    for place in range(len(path)):
        changed = [*path[:place], sha256(path[place]).digest(), *path[place + 1 :]]
        assert merkle.root_by(changed, leaf=leaves[index], index=index, count=count) != root


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0)])
def test_a_place_outside_the_tree_has_no_root(index, count):
    assert merkle.root_by([], leaf=LEAVES[0], index=index, count=count) is None
