"""One invocation of the command line: what all its commands share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agency.cli.output import Output
from agency.client import Client
from agency.errors import DaemonUnreachable

if TYPE_CHECKING:
    from agency.cli.address import Address
    from agency.config.load import Loaded
    from agency.config.schema import Settings

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Invocation:
    """Options that stand before or after a command's name, and what is made of them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.output = Output()
        self.url: str | None = None
        self.token: str | None = None
        self.config: Path | None = None
        self._address: Address | None = None
        self._loaded: Loaded | None = None

    def client(self) -> Client:
        """Make a client of the daemon that is meant; nothing is sent yet."""
        address = self.address()
        return Client(address.url, address.token)

    def address(self) -> Address:
        """Find the daemon that is meant."""
        # Imported late: settings are not read when an address is given.
        from agency.cli.address import find_daemon

        if self._address is None:
            self._address = find_daemon(self.url, self.token, self.environ, self.loaded)
        return self._address

    def loaded(self) -> Loaded:
        """Read the configuration.

        Raises:
            ConfigurationInvalid: something is wrong with it.
        """
        from agency.config.load import load

        if self._loaded is None:
            self._loaded = load(self.config, environ=self.environ)
        return self._loaded

    def ask_or_open(
        self,
        ask: Callable[[Client], T],
        open_: Callable[[Settings], Coroutine[Any, Any, T]],
    ) -> T:
        """Ask the daemon; without one open the database, unless another daemon was named.

        Raises:
            DataDirectoryLocked: a daemon runs and does not answer.
        """
        try:
            return ask(self.client())
        except DaemonUnreachable:
            if self.address().is_named:
                raise
        import asyncio  # late: most commands only ask

        return asyncio.run(open_(self.loaded().settings))


pass_invocation = click.make_pass_decorator(Invocation)


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401
    """Store an option in the invocation; the later place on the command line wins."""
    if value is not None and value is not False:
        invocation = ctx.find_object(Invocation)
        assert invocation is not None
        target = invocation.output if parameter.name in {"is_json", "is_quiet"} else invocation
        setattr(target, str(parameter.name), value)
    return value


def output_options(command: Command) -> Command:
    """Add the options of every command: ``--json`` and ``--quiet``."""
    options = (
        click.option("--json", "is_json", is_flag=True, help="Write JSON.", **_KEPT),
        click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Say less.", **_KEPT),
    )
    for option in reversed(options):
        command = option(command)
    return command


def config_option(command: Command) -> Command:
    """Add ``--config`` and the options of every command."""
    option = click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file; else CONFIG_PATH, else ./config.toml.",
        **_KEPT,
    )
    return option(output_options(command))


def daemon_options(command: Command) -> Command:
    """Add the options of every command that talks to a daemon."""
    options = (
        click.option("--url", help="Address of the daemon; else AGENCY_URL.", **_KEPT),
        click.option(
            "--token", help="API token; better AGENCY_TOKEN, which no one else sees.", **_KEPT
        ),
    )
    command = config_option(command)
    for option in reversed(options):
        command = option(command)
    return command


_KEPT: Mapping[str, Any] = {"expose_value": False, "callback": _keep, "default": None}
