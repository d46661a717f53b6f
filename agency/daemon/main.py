"""``agency-daemon``: from the command line to a daemon that serves, and to its exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agency.config.explain import describe_faults
from agency.config.load import FLAGS, Loaded, load
from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.daemon.detach import Report, detach
from agency.daemon.exits import ExitCode, exit_code
from agency.daemon.pidfile import claim_pid_file
from agency.daemon.place import make_folder
from agency.daemon.streams import open_standard_streams
from agency.daemon.systemd import Notifier
from agency.errors import AgencyError, InvalidInput
from agency.version import VERSION

if TYPE_CHECKING:
    from agency.telemetry.logs import Logs

LOG_NAME = "agency.log"
"""Log file in the data directory of a detached daemon that was given none."""

SWITCH_INTERVAL_S = 1e-4
"""How long a thread may keep the interpreter while another wants it.

At Python's 5 ms the store's writer thread starves beside a busy event loop: each of its several
small statements has to win the interpreter back. At 0.1 ms it writes ten times as much.
"""

LATE_THREADS_S = 1.0
"""How long the end of the process waits for threads that are about to end."""

_EPILOG = """\
Exit codes: 0 stopped as asked; 1 failed at run time; 2 wrong usage or configuration;
8 it runs already, or its port or data directory is in use.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the command line asks for; all paths are absolute.

    Attributes:
        current: Directory that the daemon was started in.
    """

    config: Path | None
    flags: Mapping[str, str]
    pid_file: Path | None
    log_file: Path | None
    is_detached: bool
    is_check: bool
    environ: Mapping[str, str]
    current: Path
    started_s: float

    def load(self) -> Loaded:
        """Read the settings.

        Raises:
            ConfigurationInvalid: something is wrong with them.
        """
        return load(self.config, environ=self.environ, flags=self.flags, current=self.current)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; return its exit code."""
    started_s = monotonic_s()
    open_standard_streams()
    launch = _parse(sys.argv[1:] if argv is None else argv, started_s)
    os.umask(0o077)
    # Children of the daemon must not talk to the service manager in its name.
    os.environ.pop("NOTIFY_SOCKET", None)
    try:
        loaded = launch.load()
        if launch.is_check:
            sys.stdout.write(f"The configuration is valid: {loaded.path or 'all defaults'}\n")
            return ExitCode.OK
        return _leave(_start(launch, loaded))
    except AgencyError as error:
        _say(describe(error))
        return exit_code(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def describe(error: AgencyError) -> str:
    """Write an error for people: what happened, all faults, what to do."""
    if isinstance(error, InvalidInput):
        return describe_faults(error)
    return "\n".join(part for part in (error.message, error.hint) if part)


def _parse(argv: Sequence[str], started_s: float) -> Launch:
    parser = argparse.ArgumentParser(
        prog="agency-daemon",
        description="Run the Agency daemon.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="PATH", help="configuration file; default config.toml")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", help="port to listen on; 0 takes a free one")
    parser.add_argument("--data-dir", metavar="PATH", help="folder of the database and files")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    parser.add_argument("--daemon", action="store_true", help="go into the background")
    parser.add_argument("--pid-file", metavar="PATH", help="write the process id here, locked")
    parser.add_argument("--log-file", metavar="PATH", help="log here instead of standard error")
    parser.add_argument("--check", action="store_true", help="check the configuration and end")
    parser.add_argument("--version", action="version", version=f"agency {VERSION}")
    given = parser.parse_args(argv)
    current = Path.cwd()

    def absolute(name: str) -> Path | None:
        value = getattr(given, name)
        return None if value is None else current / value

    flags = {
        name: value
        for name, flag in FLAGS.items()
        if (value := getattr(given, flag.removeprefix("--").replace("-", "_"))) is not None
    }
    return Launch(
        config=None if given.config is None else Path(given.config),
        flags=flags,
        pid_file=absolute("pid_file"),
        log_file=absolute("log_file"),
        is_detached=given.daemon,
        is_check=given.check,
        environ=dict(os.environ),
        current=current,
        started_s=started_s,
    )


def _start(launch: Launch, loaded: Loaded) -> int:
    """Claim the pid file, detach if asked to, and serve."""
    # Refused here, the caller still sees why: on the terminal, before anything detaches.
    held = claim_pid_file(launch.pid_file) if launch.pid_file else None
    if not launch.is_detached:
        try:
            return _serve(launch, loaded, Report(), log=None)
        finally:
            if held:
                held.release()
    from agency.telemetry.logs import open_log_file

    data_dir = Path(loaded.settings.server.data_dir)
    make_folder(data_dir)
    name = _log_name(launch, loaded)
    log = open_log_file(name)

    def serve(report: Report) -> int:
        try:
            if held:
                held.write(os.getpid())
            return _serve(launch, loaded, report, log=log)
        finally:
            if held:
                held.release()

    keep = [held.descriptor] if held else []
    return detach(serve, folder=data_dir, log=log, log_name=str(name), keep=keep)


def _log_name(launch: Launch, loaded: Loaded) -> Path:
    return launch.log_file or Path(loaded.settings.server.data_dir) / LOG_NAME


def _serve(launch: Launch, loaded: Loaded, report: Report, *, log: int | None) -> int:
    """Serve until stopped, with logs open, and report a start that failed."""
    from agency.telemetry.logs import open_logs

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    file = _log_name(launch, loaded) if launch.is_detached else launch.log_file
    settings = loaded.settings.logging
    try:
        with open_logs(settings, environ=launch.environ, file=file, descriptor=log) as logs:
            if launch.is_detached:
                logs.follow(sys.stdout.fileno(), sys.stderr.fileno())
            return _serve_logged(launch, loaded, report, logs)
    except AgencyError as error:  # the log cannot be opened
        report.failed(exit_code(error), describe(error))
        raise


def _serve_logged(launch: Launch, loaded: Loaded, report: Report, logs: Logs) -> int:
    from agency.daemon.lifecycle import Boot, serve

    boot = Boot(
        loaded=loaded,
        load=launch.load,
        logs=logs,
        notifier=Notifier(launch.environ.get("NOTIFY_SOCKET")),
        report=report,
        show=_show if sys.stdout.isatty() else _ignore,
        started_s=launch.started_s,
    )
    try:
        _run(serve(boot))
    except BaseException as failure:
        error = _root_of(failure)
        if isinstance(error, AgencyError):
            return _fail(error, report, logs)
        # Reported and passed on: a bug ends the process with its traceback, not in silence.
        logging.getLogger(__name__).critical("daemon failed", exc_info=failure)
        report.failed(ExitCode.FAILED, f"The daemon failed: {error!r}")
        raise
    return ExitCode.OK


def _fail(error: AgencyError, report: Report, logs: Logs) -> int:
    """Say why the daemon does not serve (any more), wherever somebody may look."""
    code, text = exit_code(error), describe(error)
    if logs.path is not None:
        fields = {"code": error.code, "reason": text}
        logging.getLogger(__name__).error("daemon failed", extra=fields)
    if not report.failed(code, text):
        _say(text)
    return code


def _root_of(failure: BaseException) -> BaseException:
    """Find the error that a group is about: one of ours, else its first."""
    if not isinstance(failure, BaseExceptionGroup):
        return failure
    roots = [_root_of(part) for part in failure.exceptions]
    return next((root for root in roots if isinstance(root, AgencyError)), roots[0])


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run the daemon's one coroutine in a loop of its own.

    Unlike `asyncio.run` this leaves signals alone and does not wait for the threads of the default
    executor without a limit.
    """
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _leave(code: int) -> int:
    """Return the code, or end the process with it when threads would hold up its end.

    A thread that hangs in foreign code (a name lookup, a step's library) cannot be stopped from
    outside, and the interpreter would wait for it for ever.
    """
    deadline_s = monotonic_s() + LATE_THREADS_S
    for thread in threading.enumerate():
        if thread is threading.current_thread() or thread.daemon:
            continue
        thread.join(max(0.0, deadline_s - monotonic_s()))
        if thread.is_alive():
            _say(f"The thread {thread.name!r} does not end; leaving without it.")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code


def _show(banner: str) -> None:
    sys.stdout.write(banner)
    sys.stdout.flush()


def _ignore(banner: str) -> None:
    """Show nothing: standard output is not a terminal."""


def _say(text: str) -> None:
    # A terminal that was closed meanwhile has nobody to tell.
    with suppress(OSError):
        sys.stderr.write(f"agency-daemon: {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
