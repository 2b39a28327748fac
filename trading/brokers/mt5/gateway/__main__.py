"""`python -m trading.brokers.mt5.gateway serve --config FILE`."""

import argparse
import sys
from pathlib import Path

from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import worker_process
from trading.brokers.mt5.gateway.program import serve
from trading.brokers.mt5.gateway.remote import worker_command
from trading.brokers.mt5.gateway.terminal import open_terminal


def main() -> int:
    """Read the command line and serve; a configuration that cannot be served is one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m trading.brokers.mt5.gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (
        ("serve", "serve the terminal until SIGTERM or Ctrl-C"),
        ("worker", "own the terminal; started by `serve`"),
    ):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--config", type=Path, required=True, help="the JSON file that describes this gateway")
    arguments = parser.parse_args()
    try:
        config = configuration.load(arguments.config)
        if arguments.command == "worker":
            return worker_process.run(lambda: open_terminal(config.terminal))
        return serve(config, worker_command(str(arguments.config)))
    except configuration.BadConfig as exc:
        sys.stderr.write(f"gateway: {exc}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
