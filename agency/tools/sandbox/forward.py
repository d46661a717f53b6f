"""The forwarder: carries connections from the inside of a sandbox to the proxy outside.

Run inside as ``python -I -S forward.py SOCKET PORT COMMAND…``: it listens on the sandbox's own
loopback, leaves a child of init behind that carries bytes between there and the Unix socket of the
proxy, and becomes the command. It judges nothing; that is done outside, by `proxy`.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys

_PIECE_BYTES = 65536
_HELD_BYTES_MAX = 1 << 20
"""Bytes that one direction holds for a slow reader; then the sender has to wait."""


def main() -> None:
    """Listen, leave the forwarder behind, become the command."""
    proxy, port, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    between = os.fork()
    if between == 0:
        # Once more, so that the command has no child that it did not start.
        if os.fork():
            os._exit(0)
        _leave_streams()
        _forward(listener, proxy)
    os.waitpid(between, 0)
    listener.close()
    # Python ignores these, and what is ignored stays so in the command.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="replace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _leave_streams() -> None:
    """Let go of the command's streams, whose end is waited for, and of its terminal."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)


class _Way:
    """One direction of a connection: what was read here and is yet to be written there."""

    __slots__ = ("held", "is_over", "sink", "source")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.held = b""
        self.is_over = False

    @property
    def is_done(self) -> bool:
        return self.is_over and not self.held


def _forward(listener: socket.socket, proxy: str) -> None:
    """Carry bytes for ever; the sandbox's end is this process's, too."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    ways: dict[socket.socket, tuple[_Way, _Way]] = {}
    while True:
        for key, _ in selector.select():
            place = key.fileobj
            if place is listener:
                _accept(listener, proxy, selector, ways)
            elif isinstance(place, socket.socket) and place in ways:
                inward, outward = ways[place]
                is_open = _carry(inward) and _carry(outward)
                if not is_open or (inward.is_done and outward.is_done):
                    for one in (inward.source, inward.sink):
                        del ways[one]
                        if one in selector.get_map():
                            selector.unregister(one)
                        one.close()
                else:
                    _watch(selector, inward, outward)


def _accept(
    listener: socket.socket,
    proxy: str,
    selector: selectors.BaseSelector,
    ways: dict[socket.socket, tuple[_Way, _Way]],
) -> None:
    inner = listener.accept()[0]
    outer = socket.socket(socket.AF_UNIX)
    try:
        outer.connect(proxy)
    except OSError:
        inner.close()
        outer.close()
        return
    pair = (_Way(inner, outer), _Way(outer, inner))
    for one in (inner, outer):
        one.setblocking(False)  # noqa: FBT003  the library's
        ways[one] = pair
        selector.register(one, selectors.EVENT_READ)


def _carry(way: _Way) -> bool:
    """Move what can be moved without waiting; False when the connection is broken."""
    try:
        if not way.is_over and len(way.held) < _HELD_BYTES_MAX:
            try:
                piece = way.source.recv(_PIECE_BYTES)
            except BlockingIOError:
                piece = None
            if piece == b"":
                way.is_over = True
                if not way.held:
                    way.sink.shutdown(socket.SHUT_WR)
            elif piece:
                way.held += piece
        if way.held:
            try:
                way.held = way.held[way.sink.send(way.held) :]
            except BlockingIOError:
                return True
            if way.is_over and not way.held:
                way.sink.shutdown(socket.SHUT_WR)
    except OSError:
        return False
    return True


def _watch(selector: selectors.BaseSelector, inward: _Way, outward: _Way) -> None:
    """Wait for what each end can do next, and for nothing that would come at once for ever."""
    for reads, writes in ((inward, outward), (outward, inward)):
        place = reads.source
        wanted = 0
        if not reads.is_over and len(reads.held) < _HELD_BYTES_MAX:
            wanted |= selectors.EVENT_READ
        if writes.held:
            wanted |= selectors.EVENT_WRITE
        if place in selector.get_map():
            if wanted:
                selector.modify(place, wanted)
            else:
                selector.unregister(place)
        elif wanted:
            selector.register(place, wanted)


if __name__ == "__main__":
    main()
