"""Certificates of an authority that only its owner vouches for, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.stack.ports import LOOPBACK


def certified(folder: Path) -> Path:
    """
    Make an authority, and a certificate of it for the loopback address.

    Returns:
        The folder with `public.crt` and `private.key`; the authority is `ca.crt` beside it.
    """
    certificates = folder / "certificates"
    certificates.mkdir()
    (folder / "names").write_text(f"subjectAltName=IP:{LOOPBACK}\nbasicConstraints=CA:FALSE\n")
    ca, key = "-CA ca.crt -CAkey ca.key", "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"req -x509 {key} -days 2 -subj /CN=tests -keyout ca.key -out ca.crt",
        f"req {key} -subj /CN=server -keyout certificates/private.key -out asked",
        f"x509 -req -days 2 -in asked {ca} -CAcreateserial -extfile names -out certificates/public.crt",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)  # noqa: S607 (that on PATH)
    return certificates
