"""When a message that did not get through is tried again."""

from datetime import timedelta

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 600
ATTEMPTS_MAX = 14  # with these pauses about an hour and a half
ATTEMPTS_TOLD = 3  # a channel that failed this often in a row is itself an alert


def pause(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: twice as long each time, ten minutes at most."""
    return timedelta(seconds=min(FIRST_PAUSE_S * 2 ** max(0, attempts - 1), LONGEST_PAUSE_S))
