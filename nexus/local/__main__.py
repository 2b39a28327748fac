"""The commands of the local runner: run, test, manage, code, clean."""

import os
import sys

from nexus.local import codes, run, testing
from nexus.local.binaries import PostgresUnusable
from nexus.local.first_trade import TradeFailed
from nexus.local.folder import FolderUnusable, open_folder
from nexus.local.processes import ChildFailed, StopRequested
from nexus.local.servers import PortTaken

USAGE = """python -m nexus.local run                  start everything, make one trade, serve until Ctrl-C
python -m nexus.local test [pytest args]   run the tests on a PostgreSQL of their own
python -m nexus.local manage [args]        run manage.py against the embedded database
python -m nexus.local code [ROLE]          show a code of a demo person's second factor (operator)
python -m nexus.local with-settings CMD    run a tool of `make check` under settings like production's
python -m nexus.local clean                remove the data folder"""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; known troubles are one message, not a traceback."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    try:
        if command == "run":
            run.run()
        elif command == "test":
            return testing.test(rest)
        elif command == "manage":
            return run.manage(rest)
        elif command == "code":
            print(codes.show(open_folder(os.environ), who=rest[0] if rest else "operator"))
        elif command == "with-settings":
            return testing.with_settings(rest)
        elif command == "clean":
            run.clean()
        else:
            print(USAGE, file=sys.stderr)
            return 2
    except StopRequested as stop:
        print(f"\nStopped: everything is down ({stop}).", flush=True)
    except KeyboardInterrupt:
        return 130
    except (ChildFailed, FolderUnusable, PortTaken, PostgresUnusable, TradeFailed) as exc:
        print(f"\nNexus cannot go on: {exc}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
