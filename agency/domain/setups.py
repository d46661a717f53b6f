"""Is a setup one that can work? And what is refused in one that is to be stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from agency.core.addresses import parse_rule
from agency.domain.connection import (
    REFERENCE,
    ConnectionSetup,
    is_connection_name,
    plain_secrets,
)
from agency.domain.login import LoginFlow
from agency.errors import Fault, InvalidInput

TEXT_CHARACTERS_MAX = 8192
"""Longest command, argument, value or address of a setup."""

ENTRIES_MAX = 128
"""Arguments, variables, headers or patterns of a setup at most."""

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")
"""What assertions of a client can be signed with."""

TIMEOUT_S_MAX = 86_400.0
CONCURRENCY_MAX = 64

_PLAIN_HINT = (
    "Set it with `agency secret set NAME`, and write secret://NAME here: what is stored of a "
    "connection can be read by whoever has the database."
)

_ARGUMENT_HINT = (
    "Set it with `agency secret set NAME`, and hand it over in env; a program that takes it only "
    "as an argument is started as sh -c 'exec PROGRAM \"$VARIABLE\"'."
)


def check_stored(name: str, setup: ConnectionSetup) -> None:
    """Check a connection that somebody wants to have stored.

    Raises:
        InvalidInput: ``faults`` has all that is wrong.
    """
    faults = [*_name_faults(name), *setup_faults(setup)]
    what = "This looks like a secret, and secrets are not stored in connections."
    faults += [
        Fault(where, what, _ARGUMENT_HINT if where.startswith("/args/") else _PLAIN_HINT)
        for where in plain_secrets(setup)
    ]
    if faults:
        raise InvalidInput("The connection cannot be stored.", faults=faults)


def _name_faults(name: str) -> Sequence[Fault]:
    if is_connection_name(name):
        return []
    hint = (
        "Use up to 32 letters, digits, dashes and single underscores; begin with a letter or digit."
    )
    return [Fault("/name", f"{name[:64]!r} cannot be the name of a connection.", hint)]


def setup_faults(setup: ConnectionSetup) -> Sequence[Fault]:
    """List what cannot be right, wherever the setup comes from."""
    faults: list[Fault] = []
    if bool(setup.command) == bool(setup.url):
        faults.append(Fault("/command", "Either a command or a url is needed, and not both."))
    if setup.url:
        faults += _url_faults(setup)
    for number, text in enumerate(setup.args):
        if REFERENCE.search(text):
            what = "Arguments can be read by everybody on this machine."
            faults.append(Fault(f"/args/{number}", what, "Hand a secret over in env."))
    for field, texts in _texts_of(setup).items():
        if len(texts) > ENTRIES_MAX:
            faults.append(Fault(f"/{field}", f"There are more than {ENTRIES_MAX} entries."))
        if any("\0" in text or len(text) > TEXT_CHARACTERS_MAX for text in texts):
            what = f"A text has a NUL character, or more than {TEXT_CHARACTERS_MAX} characters."
            faults.append(Fault(f"/{field}", what))
    faults += _place_faults(setup)
    faults += _login_faults(setup)
    return faults


def _texts_of(setup: ConnectionSetup) -> dict[str, Sequence[str]]:
    return {
        "command": [setup.command],
        "args": setup.args,
        "env": [text for pair in setup.env.items() for text in pair],
        "cwd": [setup.cwd],
        "readable": setup.readable,
        "hosts": setup.hosts,
        "url": [setup.url],
        "headers": [text for pair in setup.headers.items() for text in pair],
        "oauth_client_id": [setup.oauth_client_id],
        "oauth_client_secret": [setup.oauth_client_secret],
        "oauth_key": [setup.oauth_key],
        "oauth_scopes": setup.oauth_scopes,
        "oauth_issuer": [setup.oauth_issuer],
        "timeouts_s": list(setup.timeouts_s),
        "allow": setup.allow,
        "ask": setup.ask,
        "deny": setup.deny,
        "repeatable": setup.repeatable,
        "once": setup.once,
    }


def _url_faults(setup: ConnectionSetup) -> Sequence[Fault]:
    faults = []
    if not _is_address(setup.url):
        faults.append(Fault("/url", "It must be an http or https address."))
    if setup.args or setup.env or setup.cwd or setup.readable or setup.hosts:
        faults.append(
            Fault("/url", "A server with a url has no args, env, cwd or sandbox of ours.")
        )
    for key, value in setup.headers.items():
        if any(mark in key + value for mark in "\r\n") or not key.isascii():
            faults.append(Fault("/headers", "A header must be one line, and its name ASCII."))
    return faults


def _place_faults(setup: ConnectionSetup) -> Sequence[Fault]:
    faults = []
    if setup.command and setup.headers:
        faults.append(Fault("/headers", "Only a server with a url has headers."))
    for field, places in (("cwd", [setup.cwd] if setup.cwd else []), ("readable", setup.readable)):
        if any(not Path(place).is_absolute() for place in places):
            faults.append(Fault(f"/{field}", "It must be an absolute path."))
    if any("=" in key or not key for key in setup.env):
        faults.append(Fault("/env", "The name of a variable must not be empty or hold '='."))
    for number, host in enumerate(setup.hosts):
        try:
            parse_rule(host)
        except ValueError as error:
            faults.append(Fault(f"/hosts/{number}", str(error)))
    times = [*setup.timeouts_s.values(), *([] if setup.timeout_s is None else [setup.timeout_s])]
    if any(not 0 < time <= TIMEOUT_S_MAX for time in times):
        faults.append(Fault("/timeout_s", f"It must be above 0, and {TIMEOUT_S_MAX:g} at most."))
    if setup.concurrency is not None and not 1 <= setup.concurrency <= CONCURRENCY_MAX:
        faults.append(Fault("/concurrency", f"It must be from 1 to {CONCURRENCY_MAX}."))
    return faults


def _login_faults(setup: ConnectionSetup) -> Sequence[Fault]:
    """List what is wrong with how a token is come by."""
    faults = []
    has_own = bool(setup.oauth_client_secret or setup.oauth_key)
    if setup.command and (setup.oauth_client_id or has_own or setup.oauth_issuer):
        faults.append(Fault("/oauth", "Only a server with a url is logged in at."))
    if setup.oauth_client_secret and setup.oauth_key:
        faults.append(Fault("/oauth_key", "Either a secret or a key is needed, and not both."))
    if has_own and not setup.oauth_client_id:
        faults.append(Fault("/oauth_client_id", "A secret or key belongs to a client: name it."))
    if has_own and not setup.oauth_issuer:
        what = "A secret or key is shown to one authorization server, which must be named."
        hint = "Without that, the server of tools would decide who gets to see it."
        faults.append(Fault("/oauth_issuer", what, hint))
    if setup.oauth_issuer and not _is_address(setup.oauth_issuer):
        faults.append(Fault("/oauth_issuer", "It must be an http or https address."))
    if setup.oauth is LoginFlow.CLIENT_CREDENTIALS and not has_own:
        what = "To log in by itself the daemon needs a secret or a key."
        faults.append(Fault("/oauth_client_secret", what, "Or a person logs in: oauth = 'login'."))
    if setup.oauth_key and setup.oauth is not LoginFlow.CLIENT_CREDENTIALS:
        faults.append(Fault("/oauth_key", "A key is for oauth = 'client_credentials' only."))
    if setup.oauth_algorithm not in {"", *ALGORITHMS}:
        what = f"It must be one of {', '.join(ALGORITHMS)}."
        faults.append(Fault("/oauth_algorithm", what))
    if any(not _is_scope(scope) for scope in setup.oauth_scopes):
        faults.append(Fault("/oauth_scopes", "A scope is printable ASCII without spaces."))
    return faults


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_scope(text: str) -> bool:
    """Tell whether a text is one scope. Source: RFC 6749, section 3.3."""
    return bool(text) and all("!" <= one <= "~" and one not in {'"', "\\"} for one in text)
