"""Who did it and what it was done to: the two ends of an audit event."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ActorType(StrEnum):
    """What kind of actor acted."""

    USER = "user"
    API_KEY = "api_key"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


class Outcome(StrEnum):
    """How the act ended."""

    SUCCESS = "success"
    DENIED = "denied"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted. `id` is opaque: a user's public id, a key's id, or the name of a process."""

    type: ActorType
    id: str

    @classmethod
    def user(cls, public_id: object) -> "Actor":
        """Name a person or a bot by its public id."""
        return cls(ActorType.USER, str(public_id))

    @classmethod
    def system(cls, name: str) -> "Actor":
        """Name a process of ours, such as `resolver`."""
        return cls(ActorType.SYSTEM, name)


ANONYMOUS = Actor(ActorType.ANONYMOUS, "")


@dataclass(frozen=True, slots=True)
class Target:
    """What was acted upon: a kind, such as `order`, and its opaque id."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Header:
    """What a batch is: where it stands, the root over its leaves, and the batch before it."""

    deployment: str
    batch_no: int
    first_index: int
    leaf_count: int
    merkle_root: bytes
    prev_hash: bytes
    sealed_at: datetime
    key_id: str


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """A header as it left us: its exact bytes and the signature over them."""

    batch_no: int
    header: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Selection:
    """What an export holds: a stretch of time, the events of an action, an actor or an object, and in which forms.

    Takes: `from_at` as the first moment, `to_at` as the first one after; "" for what is not asked for.
    """

    from_at: datetime | None = None
    to_at: datetime | None = None
    action: str = ""
    actor_id: str = ""
    object_type: str = ""
    object_id: str = ""
    with_csv: bool = False
    with_pii: bool = False
    with_parquet: bool = False

    @property
    def needs_rows(self) -> bool:
        """Tell whether more of each event is asked for than its sealed text."""
        return self.with_csv or self.with_pii or self.with_parquet

    @property
    def is_filtered(self) -> bool:
        """Tell whether events are left out between others: then nobody can prove that none more was."""
        return any((self.action, self.actor_id, self.object_type, self.object_id))
