"""Packages of Debian and what descends from it, installed as root or by a sudo that asks for no password."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from threading import Lock

from tests.stack.cache import CannotInstall

# A package starts its server, on all interfaces, unless policy-rc.d says 101: not allowed.
SCRIPT = """
set -e
export DEBIAN_FRONTEND=noninteractive
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
apt-get install -qq -y --no-install-recommends "$@"
"""

_alone = Lock()


def install(packages: Sequence[str]) -> None:
    """
    Install packages; none of them starts a server.

    Raises:
        CannotInstall: this machine has no apt, or no right to use it, or apt fails.
    """
    if not shutil.which("apt-get"):
        raise CannotInstall(f"no apt-get here: install {' '.join(packages)}, or what they are called here")
    as_root = _as_root()
    if as_root is None:
        raise CannotInstall(f"as root: apt-get install {' '.join(packages)}")
    with _alone:  # apt refuses to be two
        _update(tuple(as_root))
        _run([*as_root, "sh", "-c", SCRIPT, "sh", *packages])


def _as_root() -> list[str] | None:
    """Return the words before a command that make it root's; None where nothing does."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]  # never asks for a password
    if shutil.which("sudo") and subprocess.run([*sudo, "true"], check=False, capture_output=True).returncode == 0:
        return sudo
    return None


@cache
def _update(as_root: tuple[str, ...]) -> None:
    """Fetch the lists of packages, once."""
    _run([*as_root, "apt-get", "update", "-qq"])


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotInstall(f"{' '.join(words[-3:])} failed:\n{done.stderr.strip()}")
