"""`python -m trading.brokers.mt5.gateway serve --config FILE`, and what goes with it."""

import argparse
import datetime as dt
import importlib
import json
import sys
from pathlib import Path

from trading.brokers.mt5.gateway import config as configuration
from trading.brokers.mt5.gateway import probe, worker_process
from trading.brokers.mt5.gateway.desk import Desk
from trading.brokers.mt5.gateway.program import alone, serve
from trading.brokers.mt5.gateway.remote import Remote, TerminalDown, worker_command
from trading.brokers.mt5.gateway.terminal import open_terminal

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def main() -> int:
    """Read the command line and serve; a configuration that cannot be served is one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m trading.brokers.mt5.gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (
        ("serve", "serve the terminal until SIGTERM or Ctrl-C"),
        ("probe", "ask what this broker does, without sending anything, and save it as the account's profile"),
        ("worker", "own the terminal; started by `serve`"),
    ):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--config", type=Path, required=True, help="the JSON file that describes this gateway")
        if name == "probe":
            command.add_argument("--out", type=Path, required=True, help="the file to write the profile into")
    command = commands.add_parser("certificates", help="make the certificates of a gateway that a network can reach")
    command.add_argument("--out", type=Path, required=True, help="the folder to write them into")
    command.add_argument(
        "--host", action="append", default=[], help="a name or address by which the gateway is reached; may be repeated"
    )
    arguments = parser.parse_args()
    try:
        if arguments.command == "certificates":
            return _certificates(arguments.out, arguments.host)
        config = configuration.load(arguments.config)
        if arguments.command == "worker":
            return worker_process.run(lambda: open_terminal(config.terminal))
        if arguments.command == "probe":
            with alone(config):
                return _probe(config, str(arguments.config), arguments.out)
        return serve(config, worker_command(str(arguments.config)))
    except configuration.BadConfig as exc:
        sys.stderr.write(f"gateway: {exc}\n")
        return 2


def _probe(config: configuration.Config, config_file: str, out: Path) -> int:
    """Write the profile and print what a person must look at. The gateway must not be running meanwhile."""
    expected = config.terminal
    desk = Desk(Remote(worker_command(config_file), login=expected.login, server=expected.server))
    try:
        profile = probe.run(desk, symbols=config.limits.symbols)
    except TerminalDown as exc:
        raise configuration.BadConfig(f"terminal: {exc}") from exc
    finally:
        desk.close()
    out.write_text(json.dumps(profile, indent=2) + "\n", encoding="utf-8")
    for finding in profile["findings"] or ["nothing unexpected was found"]:
        sys.stdout.write(f"{finding}\n")
    return 1 if profile["findings"] else 0


def _certificates(folder: Path, hosts: list[str]) -> int:
    try:
        certificates = importlib.import_module("trading.brokers.mt5.gateway.certificates")
    except ImportError as exc:
        raise configuration.BadConfig("certificates: needs the package cryptography") from exc
    try:
        files = certificates.make(folder, hosts=[*LOOPBACK, *hosts], now=dt.datetime.now(dt.UTC))
    except OSError as exc:
        raise configuration.BadConfig(f"certificates: {exc}") from exc
    for file in files:
        sys.stdout.write(f"{file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
