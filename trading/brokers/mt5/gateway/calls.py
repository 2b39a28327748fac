"""One call of the terminal's package: made, its error read, and both turned into plain data, as one unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from trading.brokers.mt5.gateway import plain

SUCCESS = 1

Where: TypeAlias = Mapping[str, Sequence[object]]  # field → values, of which one in any field will do


OF_CALL = frozenset({"of_call", "field"})  # an argument that is what an earlier call of the same unit has answered


@dataclass(frozen=True, slots=True)
class Call:
    """What is called, with which arguments, and what of a listing is wanted.

    An argument `{"of_call": 3, "field": "ask"}` is that field of the fourth call's answer: what a price of this moment
    costs can be asked in the unit that reads the price.
    """

    function: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    where: Where | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One call's outcome: its plain result, and the error read before anyone else could overwrite it."""

    result: Any
    code: int
    message: str
    exception: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the call worked; an empty result is a success, a missing one is not."""
        return not self.exception and self.code == SUCCESS and self.result is not None

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as it stands on the wire."""
        answer = {"ok": self.ok, "result": self.result, "last_error": [self.code, self.message]}
        return answer | {"exception": self.exception} if self.exception else answer


def make(module: Any, call: Call, before: Sequence[Answer] = ()) -> Answer:
    """Call once; whatever happens is in the answer. Takes: the answers `before` it, for arguments that name them."""
    try:
        args = [_argument(value, before) for value in call.args]
    except (LookupError, TypeError) as exc:
        return Answer(None, 0, f"an argument names an answer that is not there: {exc!r}", "NoSuchAnswer")
    try:
        value = getattr(module, call.function)(*args, **call.kwargs)
    except Exception as exc:  # noqa: BLE001 - whatever the package raises, the process that owns it must live
        return Answer(None, 0, str(exc), type(exc).__name__)
    try:
        code, message = module.last_error()
        return Answer(plain.of_value(_chosen(value, call.where)), int(code), str(message))
    except Exception as exc:  # noqa: BLE001 - the call was made; that its answer cannot be read proves nothing
        return Answer(None, 0, f"{type(exc).__name__}: {exc}", "UnreadableAnswer")


def _argument(value: Any, before: Sequence[Answer]) -> Any:
    if not isinstance(value, dict) or value.keys() != OF_CALL:
        return value
    place = value["of_call"]
    if not 0 <= place < len(before) or not before[place].ok:
        raise LookupError(place)
    return before[place].result[value["field"]]


def _chosen(listing: Any, where: Where | None) -> Any:
    """Keep of a listing the structures of which any field named in `where` has one of the values given there."""
    if not where or not isinstance(listing, (tuple, list)):
        return listing
    wanted = [(name, {str(value) for value in values}) for name, values in where.items()]
    return [entry for entry in listing if any(str(getattr(entry, name)) in values for name, values in wanted)]
