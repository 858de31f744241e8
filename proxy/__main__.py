"""The program: SIGHUP is held before anything is loaded, then the command line has its turn."""

import importlib

from proxy.hangup import Hangup


def main() -> None:
    """Run the command that the command line says."""
    Hangup.held()
    importlib.import_module(
        "proxy.command_line"
    ).main()  # only now: click alone takes longer than Python's start


if __name__ == "__main__":
    main()
