"""
Become a server that does not outlive the test run: `python -I -S launch.py PARENT USER GROUP WORD...`.

Done in a process between, because the hook that `subprocess` offers for it is unsafe beside threads, and warns of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal this process gets when the thread that started it ends."""


def main(parent: int, user: int, group: int, words: list[str]) -> None:
    if user != os.geteuid():
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    if sys.platform == "linux":
        # Only now: a change of user takes it back.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the test run has ended")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a server would inherit that
    os.execvp(words[0], words)  # noqa: S606 (words of the stack's own)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
