"""The Merkle tree of a batch. Source: RFC 9162 §2.1."""

from collections.abc import Sequence
from hashlib import sha256

HASH_SIZE = 32


def leaf_hash(canonical: bytes) -> bytes:
    """Hash an event's exact bytes as a leaf."""
    return sha256(b"\x00" + canonical).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, of which there is at least one."""
    return levels(leaves)[-1][0]


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return every level of the tree, the leaves first and the root last; an odd last node rises as it is."""
    assert leaves, "a tree has at least one leaf"
    found = [list(leaves)]
    while len(below := found[-1]) > 1:
        above = [sha256(b"\x01" + left + right).digest() for left, right in zip(below[::2], below[1::2], strict=False)]
        if len(below) % 2:
            above.append(below[-1])
        found.append(above)
    return found


def path(tree: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """Return the inclusion path of the leaf at `index`, from its own neighbor up. Takes: `tree` as `levels` returns."""
    found = []
    for level in tree[:-1]:
        neighbor = index ^ 1
        if neighbor < len(level):
            found.append(level[neighbor])
        index //= 2
    return found


def root_by(path: Sequence[bytes], *, leaf: bytes, index: int, count: int) -> bytes | None:
    """Return the root that a leaf's path leads to, or None when no tree of `count` leaves has such a path.

    Source: RFC 9162 §2.1.3.2.
    """
    if not 0 <= index < count:
        return None
    place, last, found = index, count - 1, leaf
    for node in path:
        if last == 0:
            return None
        if place % 2 or place == last:
            found = sha256(b"\x01" + node + found).digest()
            while not place % 2 and place:
                place, last = place >> 1, last >> 1
        else:
            found = sha256(b"\x01" + found + node).digest()
        place, last = place >> 1, last >> 1
    return found if last == 0 else None


class Growing:
    """A root that grows leaf by leaf and keeps no more than one hash a level."""

    def __init__(self, nodes: Sequence[tuple[int, bytes]] = (), count: int = 0) -> None:
        self._nodes = list(nodes)  # (height, hash) of the whole subtrees so far, the largest first
        self.count = count

    def add(self, leaf: bytes) -> None:
        """Add a leaf's hash."""
        nodes, height, node = self._nodes, 0, leaf
        while nodes and nodes[-1][0] == height:
            node = sha256(b"\x01" + nodes.pop()[1] + node).digest()
            height += 1
        nodes.append((height, node))
        self.count += 1

    def copy(self) -> "Growing":
        """Return the same root, to grow another way from here."""
        return Growing(self._nodes, self.count)

    def root(self) -> bytes | None:
        """Return the root over what was added; None for nothing."""
        if not self._nodes:
            return None
        found = self._nodes[-1][1]
        for _, node in reversed(self._nodes[:-1]):
            found = sha256(b"\x01" + node + found).digest()
        return found
