"""Tell the service manager how it stands: sd_notify.

Source: sd_notify(3). A datagram of ``NAME=value`` lines to the socket in ``$NOTIFY_SOCKET``.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


class Notifier:
    """Sends notices to the service manager; without one it sends nothing."""

    def __init__(self, address: str | None) -> None:
        # `@` stands for the zero byte that abstract addresses begin with.
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address

    def ready(self, status: str) -> None:
        """The daemon serves; after `reloading`: it has reloaded."""
        self._send("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def status(self, status: str) -> None:
        """Say in words what goes on, for ``systemctl status``."""
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        micros = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={micros}")

    def stopping(self, status: str) -> None:
        """The daemon was asked to stop and is about it."""
        self._send("STOPPING=1", f"STATUS={status}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        notice = "\n".join(line.replace("\n", " ") for line in lines)
        # A service manager that is gone or busy must not harm the service.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(0)
            channel.sendto(notice.encode(), self._address)
