"""The program `lorank`: the console script, and `python -m lorank`."""

import signal
import sys

from lorank._native import main as run


def main() -> int:
    """Runs the command in `sys.argv`, as the program built by Rust does, and returns its exit status."""
    # Python's handler would only note the signal until the command ends. The program's own commands handle it themselves.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    return run(["lorank", *sys.argv[1:]])
