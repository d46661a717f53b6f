"""The filter of system calls, run by a small machine of its own: the kernel's, in Python."""

from __future__ import annotations

import struct

import pytest

from agency.tools.sandbox.seccomp import Sockets, make_filter

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050001, 0x00050026


def judged(program: bytes | None, number: int, *arguments: int, audit: int = X86_64) -> int:
    """Run a classic BPF program over ``struct seccomp_data``. Source: bpf(4), seccomp(2)."""
    assert program is not None
    padded = [*arguments, *([0] * 6)][:6]
    data = struct.pack("<iIQ6Q", number - (1 << 32) if number >> 31 else number, audit, 0, *padded)
    accumulator, at = 0, 0
    while True:
        code, jt, jf, k = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x15:
            at += jt if accumulator == k else jf
        elif code == 0x35:
            at += jt if accumulator >= k else jf
        elif code == 0x45:
            at += jt if accumulator & k else jf
        elif code == 0x54:
            accumulator &= k
        elif code == 0x06:
            return int(k)
        else:
            raise AssertionError(code)


BOTH = pytest.mark.parametrize(
    ("machine", "audit", "numbers"),
    [
        ("x86_64", X86_64, {"read": 0, "ptrace": 101, "mount": 165, "ioctl": 16, "clone": 56}),
        ("aarch64", AARCH64, {"read": 63, "ptrace": 117, "mount": 40, "ioctl": 29, "clone": 220}),
    ],
    ids=["x86-64", "arm64"],
)


@BOTH
def test_ordinary_calls_pass_and_dangerous_ones_fail(
    machine: str, audit: int, numbers: dict[str, int]
) -> None:
    program = make_filter(Sockets.NAMESPACE, machine=machine)

    assert ALLOW == judged(program, numbers["read"], audit=audit)
    assert EPERM == judged(program, numbers["ptrace"], audit=audit)
    assert EPERM == judged(program, numbers["mount"], audit=audit)
    assert EPERM == judged(program, 425, audit=audit)
    assert ENOSYS == judged(program, 435, audit=audit)
    assert ALLOW == judged(program, 436, audit=audit)


@BOTH
def test_threads_are_made_and_namespaces_are_not(
    machine: str, audit: int, numbers: dict[str, int]
) -> None:
    program = make_filter(Sockets.NAMESPACE, machine=machine)
    thread, user = 0x003D0F00, 0x10000000 | 17

    assert ALLOW == judged(program, numbers["clone"], thread, audit=audit)
    assert EPERM == judged(program, numbers["clone"], user, audit=audit)


@BOTH
def test_terminals_take_settings_and_no_input(
    machine: str, audit: int, numbers: dict[str, int]
) -> None:
    program = make_filter(Sockets.NAMESPACE, machine=machine)

    assert ALLOW == judged(program, numbers["ioctl"], 0, 0x5413, audit=audit)
    assert EPERM == judged(program, numbers["ioctl"], 0, 0x5412, audit=audit)
    assert EPERM == judged(program, numbers["ioctl"], 0, 0x541C, audit=audit)
    # The kernel looks at the lower half alone, and so does the filter.
    assert EPERM == judged(program, numbers["ioctl"], 0, 0x5412 | 1 << 32, audit=audit)


def test_other_abis_of_the_same_machine_are_no_way_around() -> None:
    program = make_filter(Sockets.NAMESPACE, machine="x86_64")

    assert KILL == judged(program, 26, audit=I386)
    assert EPERM == judged(program, 0x40000000 + 39)


def test_personalities_that_weaken_are_refused() -> None:
    program = make_filter(Sockets.NAMESPACE, machine="x86_64")

    assert ALLOW == judged(program, 135, 0xFFFFFFFF)
    assert ALLOW == judged(program, 135, 0)
    assert EPERM == judged(program, 135, 0x0040000)


@pytest.mark.parametrize(
    ("sockets", "arguments", "answer"),
    [
        (Sockets.NAMESPACE, (1, 1, 0), ALLOW),
        (Sockets.NAMESPACE, (2, 2, 17), ALLOW),
        (Sockets.NAMESPACE, (10, 1 | 0x80000, 6), ALLOW),
        (Sockets.NAMESPACE, (16, 3, 0), ALLOW),
        (Sockets.NAMESPACE, (16, 3, 9), EPERM),
        (Sockets.NAMESPACE, (40, 1, 0), EPERM),
        (Sockets.NAMESPACE, (17, 3, 0), EPERM),
        (Sockets.NAMESPACE, (38, 5, 0), EPERM),
        (Sockets.NONE, (2, 1, 0), EPERM),
        (Sockets.NONE, (1, 1, 0), EPERM),
        (Sockets.TCP, (2, 1, 0), ALLOW),
        (Sockets.TCP, (10, 1 | 0x80000 | 0x800, 6), ALLOW),
        (Sockets.TCP, (2, 2, 0), EPERM),
        (Sockets.TCP, (2, 3, 1), EPERM),
        (Sockets.TCP, (2, 1, 262), EPERM),
        (Sockets.TCP, (1, 1, 0), EPERM),
        (Sockets.TCP, (40, 1, 0), EPERM),
    ],
)
def test_sockets(sockets: Sockets, arguments: tuple[int, ...], answer: int) -> None:
    program = make_filter(sockets, machine="x86_64")

    assert answer == judged(program, 41, *arguments)
    # The next rules still see the number of the call.
    assert ALLOW == judged(program, 53, *arguments)


def test_there_is_no_filter_for_a_machine_that_is_not_known() -> None:
    assert make_filter(Sockets.NONE, machine="riscv64") is None
