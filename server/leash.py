"""Runs a command that ends when its supervisor does: `python leash.py SUPERVISOR_PID COMMAND …`.

Linux tells a process of its parent's end by a signal that outlasts exec (PR_SET_PDEATHSIG, prctl(2)), so that a killed
supervisor leaves no manager behind that holds the port. Elsewhere the command just runs. Sessions are not on the leash.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    supervisor, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        # It may have ended before that was set.
        if os.getppid() != supervisor:
            sys.exit(0)
    os.execv(command[0], command)  # noqa: S606  # the supervisor's own command line


if __name__ == "__main__":
    main()
