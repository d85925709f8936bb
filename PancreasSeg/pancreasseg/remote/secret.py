"""The secret that server and client share: read, or made and kept where its owner alone can read it."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from pancreasseg.core.errors import InputError, OutputError
from pancreasseg.io.atomic import atomic_write

#: Holds the token for both sides; arguments are seen by everybody who lists processes.
VARIABLE = "PANCREASSEG_TOKEN"
_SHORTEST = 20


def checked(token: str) -> str:
    """A token without the white space around it.

    Raises:
        InputError: it is too short to be a secret, or cannot stand in the head of a request.
    """
    token = token.strip()
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            "token",
            f"A token has at least {_SHORTEST} letters and digits, and no spaces.",
            'Make one with: python -c "import secrets; print(secrets.token_urlsafe())"',
        )
    return token


def read(file: Path) -> str:
    """The token in a file.

    Raises:
        InputError: it cannot be read, others can read it, or it holds no token.
    """
    try:
        text, mode = file.read_text(encoding="ascii"), file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "token", f"There is no token in {file}.", "Name a text file that holds nothing else."
        ) from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError("token", f"Others can read the token in {file}.", f"Take that from them: chmod 600 {file}")
    return checked(text)


def kept(file: Path) -> str:
    """The token in a file; a new one where there is no such file.

    Raises:
        InputError: as `read`.
        OutputError: it cannot be written.
    """
    if file.exists():
        return read(file)
    token = secrets.token_urlsafe(32)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as partial:
            partial.touch(0o600)
            partial.chmod(0o600)
            partial.write_text(token + "\n", encoding="ascii")
    except OSError as error:
        raise OutputError("token", f"The token cannot be written to {file}.", "Name another file.") from error
    return token
