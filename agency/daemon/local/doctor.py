"""What is wrong on this machine, if anything, and what to do about it. Works without a daemon.

Each check looks at the thing itself, afresh: the sandbox is probed, the port is bound, the model
server is asked. Nothing is changed, and the database of a daemon is not opened.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from agency.client import Client
from agency.config.load import Loaded
from agency.config.places import database_path
from agency.config.schema import Settings
from agency.core.records import dataclass
from agency.daemon.lifecycle import SPARE_DESCRIPTORS
from agency.daemon.listener import bind
from agency.documents import SandboxDocument
from agency.domain.tool import Capability, Level
from agency.errors import AddressUnusable, AgencyError, PortTaken
from agency.storage.sqlite.place import LOCK_FILE, find_network_kind

MODEL_S = 10.0
"""Longest look at the model server; the client that lists its models takes a moment to load."""

DAEMON_S = 5.0
"""Longest wait for a daemon to say how it is."""

OF_A_SERVER = "__"
"""Is in the names of tools of MCP servers, which come and go."""

_SQLITE_MIN = (3, 37, 0)
"""The first version with STRICT tables."""


class State(StrEnum):
    """How a thing is."""

    GOOD = "good"
    WARNING = "warning"
    """The daemon works, and less well than it could."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found: how it is, in a sentence, and what to do if it is not good."""

    name: str
    state: State
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks have found."""

    findings: Sequence[Finding]
    sandbox: SandboxDocument

    @property
    def is_good(self) -> bool:
        """Nothing is bad; there may be warnings."""
        return all(each.state is not State.BAD for each in self.findings)


async def examine(loaded: Loaded, client: Client, *, is_named: bool) -> Report:
    """Look at everything that the daemon of this configuration stands on.

    Args:
        client: Of the daemon that is meant.
        is_named: Somebody has named it; else it is asked only while it has the data directory.
    """
    settings = loaded.settings
    daemon = await asyncio.to_thread(_daemon, settings, client, is_named)
    sandbox, document = await _sandbox(loaded)
    findings = [
        Finding("configuration", State.GOOD, str(loaded.path or "all defaults")),
        _data_directory(Path(settings.server.data_dir)),
        _disk(settings),
        _sqlite(),
        daemon,
        await _port(settings, is_running=_is_locked(Path(settings.server.data_dir))),
        await _model(settings),
        sandbox,
        _open_files(settings),
    ]
    return Report(findings, document)


def _data_directory(path: Path) -> Finding:
    name = "data directory"
    if not path.exists():
        parent = next(each for each in path.parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding(name, State.GOOD, f"{path} will be made")
        return Finding(
            name,
            State.BAD,
            f"{path} cannot be made: {parent} is not this user's to write",
            f"sudo install -d -m 0700 -o $(id -un) {path}",
        )
    if not path.is_dir() or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            name,
            State.BAD,
            f"{path} is no folder that this user can write",
            f"sudo chown -R $(id -un) {path}",
        )
    kind = find_network_kind(path)
    if kind is not None:
        return Finding(
            name,
            State.BAD,
            f"{path} is on a network file system ({kind}), where locks are not safe",
            "Set [server] data_dir to a folder on a local disk.",
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Finding(
            name, State.WARNING, f"{path} is open to others (mode {mode:o})", f"chmod 700 {path}"
        )
    return Finding(name, State.GOOD, str(path))


def _disk(settings: Settings) -> Finding:
    folder = database_path(settings.store.url).parent
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    least = settings.store.free_bytes_min
    what = f"{free / (1 << 30):.1f} GiB free at {there}"
    if free < least:
        need = f"{least / (1 << 20):.0f} MiB"
        return Finding(
            "disk", State.BAD, f"{what}, and new work needs {need}", "Make room on the disk."
        )
    if free < 10 * least:
        return Finding("disk", State.WARNING, what, "Make room, or look at [retention].")
    return Finding("disk", State.GOOD, what)


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE one USING fts5(text)")
        except sqlite3.OperationalError:
            return Finding(
                "sqlite", State.BAD, f"{version}, without FTS5", "Use a Python with FTS5."
            )
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        least = ".".join(map(str, _SQLITE_MIN))
        return Finding("sqlite", State.BAD, version, f"Use a Python with SQLite {least} or later.")
    return Finding("sqlite", State.GOOD, f"{version}, with FTS5")


def _is_locked(data_dir: Path) -> bool:
    """Tell whether a process holds the data directory."""
    try:
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _daemon(settings: Settings, client: Client, is_named: bool) -> Finding:  # noqa: FBT001
    is_running = _is_locked(Path(settings.server.data_dir))
    if not is_running and not is_named:
        return Finding("daemon", State.GOOD, "none runs")
    try:
        health = client.health()
    except AgencyError as error:
        if is_running:
            return Finding(
                "daemon",
                State.BAD,
                f"one has the data directory and does not answer at {client.url}: {error.message}",
                "Look into its log.",
            )
        return Finding(
            "daemon", State.BAD, f"none answers at {client.url}: {error.message}", error.hint
        )
    what = f"version {health['version']} at {client.url} is {health['status']}"
    model = health.get("llm", {})
    if not model.get("reachable", True):
        what += f", its model server is away: {model['reason']}"
    driver = health.get("sandbox", {}).get("driver")
    if driver:
        what += f", its sandbox is {driver}"
    connections = health.get("connections")
    broken = [] if connections is None else connections["broken"]
    if broken:
        told = "; ".join(f"{one['name']}: {one['reason']}" for one in broken)
        what += f", MCP servers that are not to be had: {told}"
        return Finding("daemon", State.WARNING, what, "See `agency mcp show NAME`.")
    if health["status"] != "healthy":
        return Finding("daemon", State.WARNING, what, "See `agency status`.")
    misnamed = _misnamed(settings, client)
    if misnamed:
        what += f", settings of agents name what is no tool: {'; '.join(misnamed)}"
        return Finding("daemon", State.WARNING, what, "See `agency tools ls --agent NAME`.")
    return Finding("daemon", State.GOOD, what)


def _misnamed(settings: Settings, client: Client) -> list[str]:
    """Tell for each agent of these settings which names of its tools mean none to the daemon."""
    found = []
    for agent in sorted(settings.agents):
        try:
            unknown = [one for one in client.unknown_tools(agent) if OF_A_SERVER not in one]
        except AgencyError:
            continue  # the daemon runs with other settings, without that agent
        if unknown:
            found.append(f"[agents.{agent}] {', '.join(map(repr, unknown))}")
    return found


async def _port(settings: Settings, *, is_running: bool) -> Finding:
    host, port = settings.server.host, settings.server.port
    place = f"{host}:{port}"
    if is_running:
        return Finding("port", State.GOOD, f"{place}, not tried while a daemon runs")
    try:
        sockets = await bind(host, port)
        try:
            for one in sockets:
                # Binding alone tells nothing of a port that can be shared.
                one.listen(1)
        except OSError as error:
            raise PortTaken(host, port, "") from error
        finally:
            for one in sockets:
                one.close()
    except (PortTaken, AddressUnusable) as error:
        return Finding("port", State.BAD, error.message, error.hint)
    return Finding("port", State.GOOD, f"{place} is free")


async def _model(settings: Settings) -> Finding:
    from agency.models.opening import open_models

    name, wanted = "model", settings.llm.model
    try:
        async with asyncio.timeout(MODEL_S), open_models(settings) as models:
            provider = models.default
            if provider.is_rehearsal:
                fix = 'Install Ollama and set [llm] provider = "ollama" for real answers.'
                return Finding(name, State.WARNING, "answers are rehearsals", fix)
            health = await provider.health()
            if not health.reachable:
                return Finding(
                    name,
                    State.BAD,
                    f"{provider.name} does not answer{_at(settings, provider.name)}: "
                    f"{health.reason}",
                    "Start it, or correct its address in the configuration.",
                )
            found = {each.name for each in await provider.models()}
    except TimeoutError:
        return Finding(name, State.BAD, f"no answer within {MODEL_S:g} s", "Look into its log.")
    except AgencyError as error:
        return Finding(name, State.BAD, error.message, error.hint)
    if found and not found & {wanted, f"{wanted}:latest"}:
        fix = f"Fetch it with `ollama pull {wanted}`, or choose another with [llm] model."
        return Finding(name, State.BAD, f"{provider.name} does not have {wanted!r}", fix)
    return Finding(name, State.GOOD, f"{wanted} by {provider.name} {health.version}".rstrip())


async def _sandbox(loaded: Loaded) -> tuple[Finding, SandboxDocument]:
    from agency.tools.sandbox.choose import UNAVAILABLE
    from agency.tools.sandbox.sandbox import make_sandbox

    hidden = () if loaded.path is None else (loaded.path,)
    scratch = Path(tempfile.mkdtemp(prefix="agency-doctor-"))
    try:
        sandbox = make_sandbox(loaded.settings, hidden=hidden, scratch=scratch)
        await sandbox.ready()
    except AgencyError as error:
        empty = SandboxDocument(driver="", levels={}, fix=error.hint)
        return Finding("sandbox", State.BAD, error.message, error.hint), empty
    finally:
        with suppress(OSError):
            shutil.rmtree(scratch)
    levels = sandbox.levels
    document = SandboxDocument(
        driver=sandbox.name,
        levels={str(each): str(level) for each, level in levels.items()},
        fix=sandbox.fix,
    )
    tried = "".join(f"; {each.driver}: {each.reason}" for each in sandbox.choice.tried)
    what = f"{sandbox.name}{tried}"
    missing = [
        each
        for each in loaded.settings.sandbox.require
        if levels[Capability(each)] != Level.ENFORCED
    ]
    if missing:
        what += f"; [sandbox] require names {', '.join(missing)}, not enforced here"
    if sandbox.name == UNAVAILABLE or missing:
        return Finding("sandbox", State.BAD, what, sandbox.fix), document
    is_whole = all(level is Level.ENFORCED for level in levels.values())
    state = State.GOOD if is_whole else State.WARNING
    return Finding("sandbox", state, what, sandbox.fix), document


def _at(settings: Settings, provider: str) -> str:
    """Say where a model server is looked for, without what else an address may hold."""
    section = settings.providers.get(provider)
    parts = urlsplit(settings.llm.base_url if section is None else section.base_url)
    return f" at {parts.hostname}:{parts.port}" if parts.hostname and parts.port else ""


def _open_files(settings: Settings) -> Finding:
    wanted = settings.server.connections_max + SPARE_DESCRIPTORS
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return Finding(
            "open files",
            State.WARNING,
            f"{hard} may be open, and [server] connections_max needs {wanted}",
            f"Raise the limit: LimitNOFILE={wanted} in the unit, or `ulimit -n {wanted}`.",
        )
    shown = "any number" if hard == resource.RLIM_INFINITY else str(hard)
    return Finding("open files", State.GOOD, f"{shown} may be open, {wanted} are needed at most")
