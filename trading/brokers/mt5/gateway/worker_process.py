"""The process that owns the terminal's package: it reads calls, makes them, and writes what came of them."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

from trading.brokers.mt5.gateway.calls import Call
from trading.brokers.mt5.gateway.config import BadConfig
from trading.brokers.mt5.gateway.remote import read_frame, write_frame
from trading.brokers.mt5.gateway.terminal import Terminal

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def run(open_terminal: Callable[[], Terminal]) -> int:
    """Serve calls on standard input and output until the gateway closes them.

    Whatever a library prints goes to standard error: standard output carries frames only.
    """
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):  # the gateway ends us; a Ctrl-C is meant for it
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":  # with the lock held by a call that hangs, nothing of ours could notice its end
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    try:
        terminal = open_terminal()
    except BadConfig as exc:
        write_frame(replies, {"error": str(exc)})
        return 2
    try:
        write_frame(replies, {"now": terminal.now()})
        while (frame := read_frame(calls)) is not None:
            answers = terminal.make([Call(*call) for call in frame])
            plain = [[answer.result, answer.code, answer.message, answer.exception] for answer in answers]
            write_frame(replies, {"answers": plain, "now": terminal.now()})
    except BrokenPipeError:
        pass  # the gateway has gone
    finally:
        terminal.close()
    return 0
