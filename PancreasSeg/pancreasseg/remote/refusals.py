"""What a server says when it does not do what it is asked: a sentence, and HTTP's number for it."""

from __future__ import annotations

from pancreasseg.core.errors import PancreasSegError, RunError

#: HTTP's number for each of the errors below; whatever else goes wrong is 400.
STATUS = {
    "server-token": 401,
    "server-origin": 403,
    "no-session": 404,
    "no-array": 404,
    "no-page": 404,
    "server-slow": 408,
    "protocol-version": 409,
    "server-size": 413,
    "server-full": 429,
}


def status_of(error: PancreasSegError) -> int:
    """HTTP's number for an error."""
    return STATUS.get(error.code, 400)


def wrong_token() -> RunError:
    """Another token than the server's, or none."""
    return RunError(
        "server-token", "The server does not accept the token.", "Copy it again from the machine that the server is on."
    )


def foreign_origin() -> RunError:
    """A page in a browser, or a name that is not the server's."""
    return RunError(
        "server-origin",
        "The server is known under another name, or is not for pages in a browser.",
        "Use a name that it was started with (--name).",
    )


def no_session() -> RunError:
    """The session is over, or was another server's."""
    return RunError(
        "no-session",
        "The server has lost this session: it was restarted, or could not be reached for too long.",
        "Nothing was changed; run again, and the CT is sent anew.",
    )


def no_array() -> RunError:
    """No event named this array, or it has been fetched."""
    return RunError("no-array", "The server does not have this array.", "Run again.")


def no_page() -> RunError:
    """An address that means nothing here."""
    return RunError("no-page", "There is nothing at this address.", "Update the extension and the server.")


def too_slow() -> RunError:
    """A client that does not go on."""
    return RunError("server-slow", "The connection to the server is too slow.", "Try again, or compute here.")


def too_large() -> RunError:
    """More than the server takes."""
    return RunError("server-size", "This is larger than the server accepts.", "Crop the CT, or compute here.")


def too_long() -> RunError:
    """A run beyond the server's limit of time."""
    return RunError(
        "server-time", "The run took longer than the server allows.", "Choose a smaller box or compute here."
    )


def too_many() -> RunError:
    """No place for another session or request."""
    return RunError("server-full", "The server has too many clients at the moment.", "Try again later.")


def other_version(theirs: object, ours: str) -> RunError:
    """Bridge and server do not speak the same protocol."""
    return RunError(
        "protocol-version",
        f"The server has PancreasSeg {ours} and this computer {theirs}, which do not understand each other.",
        "Update the older of the two.",
    )


def malformed() -> RunError:
    """Something that is no request."""
    return RunError("protocol", "The server was sent something that it does not understand.", "Update both sides.")
