"""How two operators hand the two halves of a link's token to its owner."""

from typing import Any

from tests.client import ApiClient


def token_of(agreed: dict[str, Any], asking: ApiClient) -> str:
    """Put the halves together, as the owner does. Takes: the answer to who agreed, and the session of who asked."""
    answer = asking.post(f"/approvals/{agreed['id']}/link/half")
    assert answer.status_code == 200, answer.content
    return str(agreed["result"]["first_half"] + answer.json()["second_half"])
