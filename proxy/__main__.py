"""The program: SIGHUP is held before anything is loaded, then the command line has its turn."""

import importlib
import signal

from proxy.hangup import Hangup


def main() -> None:
    """Run the command that the command line says."""
    Hangup.held()
    try:
        importlib.import_module("proxy.command_line").main()  # not before: click alone takes 30 ms to load
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Python takes handlers back before its own end


if __name__ == "__main__":
    main()
