"""The filter of system calls: made by hand as the kernel takes it.

Everything is allowed but what no build, script or test needs and what has again and again been a
way out of sandboxes: tracing, mounting, new namespaces, keys, kernel modules, io_uring (which makes
calls past this very filter), families of sockets that network namespaces do not bound (vsock), and
typing into a terminal. A denied call fails with EPERM, so that programs say what they could not do.

An allow-list would be stricter, and would break every runtime that uses a newer call than it knows;
the file system, the network and other processes are bounded by other means than this.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst; include/uapi/linux/{filter,audit}.h;
the tables of system calls of x86-64 and of the generic ABI (arm64).
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache

from agency.core.records import dataclass

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_NUMBER_AT = 0
_ARCHITECTURE_AT = 4
_X32_BIT = 0x40000000
"""Calls of the x32 ABI have this bit; they would pass a filter that compares numbers alone."""

_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_TIOCSTI = 0x5412
_TIOCLINUX = 0x541C
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Plain Linux, 32 bits' uname, and asking. Others switch protections of the memory off."""

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
_STREAM = 1
_TCP = 6


class Sockets(Enum):
    """Which sockets a command may make."""

    NAMESPACE = "namespace"
    """Those that a network namespace of its own bounds."""
    NONE = "none"
    """None at all: there is no namespace. Pairs (``socketpair``) are left."""
    TCP = "tcp"
    """TCP alone, which Landlock bounds by port."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """An architecture: its number for audit, and its calls, as far as they matter here."""

    audit: int
    calls: Mapping[str, int]
    has_x32: bool = False


_SAME = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "process_mrelease": 448,
    "statmount": 457,
    "listmount": 458,
    "open_tree_attr": 467,
}
"""Numbers that every architecture shares, because the calls are younger than 2019."""

_X86_64 = _Machine(
    0xC000003E,
    {
        **_SAME,
        "ioctl": 16,
        "socket": 41,
        "clone": 56,
        "ptrace": 101,
        "syslog": 103,
        "personality": 135,
        "vhangup": 153,
        "modify_ldt": 154,
        "pivot_root": 155,
        "adjtimex": 159,
        "chroot": 161,
        "acct": 163,
        "settimeofday": 164,
        "mount": 165,
        "umount2": 166,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "sethostname": 170,
        "setdomainname": 171,
        "iopl": 172,
        "ioperm": 173,
        "init_module": 175,
        "delete_module": 176,
        "quotactl": 179,
        "lookup_dcookie": 212,
        "clock_settime": 227,
        "kexec_load": 246,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "unshare": 272,
        "move_pages": 279,
        "perf_event_open": 298,
        "fanotify_init": 300,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "clock_adjtime": 305,
        "setns": 308,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "finit_module": 313,
        "kexec_file_load": 320,
        "bpf": 321,
        "userfaultfd": 323,
    },
    has_x32=True,
)

_AARCH64 = _Machine(
    0xC00000B7,
    {
        **_SAME,
        "lookup_dcookie": 18,
        "ioctl": 29,
        "umount2": 39,
        "mount": 40,
        "pivot_root": 41,
        "chroot": 51,
        "vhangup": 58,
        "quotactl": 60,
        "acct": 89,
        "personality": 92,
        "unshare": 97,
        "kexec_load": 104,
        "init_module": 105,
        "delete_module": 106,
        "clock_settime": 112,
        "syslog": 116,
        "ptrace": 117,
        "reboot": 142,
        "sethostname": 161,
        "setdomainname": 162,
        "settimeofday": 170,
        "adjtimex": 171,
        "socket": 198,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "clone": 220,
        "swapon": 224,
        "swapoff": 225,
        "move_pages": 239,
        "perf_event_open": 241,
        "fanotify_init": 262,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "clock_adjtime": 266,
        "setns": 268,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "finit_module": 273,
        "bpf": 280,
        "userfaultfd": 282,
        "kexec_file_load": 294,
    },
)

_MACHINES = {"x86_64": _X86_64, "amd64": _X86_64, "aarch64": _AARCH64, "arm64": _AARCH64}

_JUDGED = frozenset({"ioctl", "clone", "clone3", "personality", "socket"})
"""Calls that are judged by their arguments, or otherwise than by EPERM."""


@cache
def make_filter(sockets: Sockets, *, machine: str | None = None) -> bytes | None:
    """Make the filter as ``struct sock_filter[]``; None for an architecture it is not made for.

    Args:
        machine: As ``uname -m`` says it; None for this one.
    """
    known = _MACHINES.get((machine or platform.machine()).lower())
    if known is None:
        return None
    program: list[bytes] = [
        _load(_ARCHITECTURE_AT),
        _op(_EQUAL, known.audit, jt=1),
        # Calls of another ABI, such as 32 bits', have other numbers: none of them is wanted.
        _op(_RETURN, _KILL_PROCESS),
        _load(_NUMBER_AT),
    ]
    if known.has_x32:
        program += [_op(_AT_LEAST, _X32_BIT, jf=1), _fail()]
    for name in sorted(known.calls.keys() - _JUDGED):
        program += [_op(_EQUAL, known.calls[name], jf=1), _fail()]
    # Its flags lie in memory, where no filter sees them; without it, libraries take clone.
    program += [_op(_EQUAL, known.calls["clone3"], jf=1), _fail(errno.ENOSYS)]
    program += _judged(known, "clone", [_load(_argument(0)), _op(_ANY_BIT, _NEW_NAMESPACES, jf=1)])
    program += _judged(known, "ioctl", _one_of(1, (_TIOCSTI, _TIOCLINUX)))
    program += _judged(known, "personality", _none_of(0, _PERSONALITIES))
    program += _socket_rules(known, sockets)
    program.append(_op(_RETURN, _ALLOW))
    return b"".join(program)


def _socket_rules(known: _Machine, sockets: Sockets) -> list[bytes]:
    match sockets:
        case Sockets.NONE:
            return [_op(_EQUAL, known.calls["socket"], jf=1), _fail()]
        case Sockets.NAMESPACE:
            families = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)
            return [
                *_judged(known, "socket", _none_of(0, families)),
                # Of netlink only routes (0), which libraries ask for their own addresses.
                *_judged(
                    known,
                    "socket",
                    [
                        _load(_argument(0)),
                        _op(_EQUAL, AF_NETLINK, jf=3),
                        _load(_argument(2)),
                        _op(_EQUAL, 0, jt=1),
                    ],
                ),
            ]
        case Sockets.TCP:
            return [
                *_judged(known, "socket", _none_of(0, (AF_INET, AF_INET6))),
                # Without SOCK_NONBLOCK and SOCK_CLOEXEC, which are flags beside the type.
                *_judged(
                    known,
                    "socket",
                    [_load(_argument(1)), _op(_AND, 0xF), _op(_EQUAL, _STREAM, jt=1)],
                ),
                # MPTCP would pass Landlock's rules, which are for TCP.
                *_judged(known, "socket", _none_of(2, (0, _TCP))),
            ]


def _judged(known: _Machine, name: str, test: Iterable[bytes]) -> list[bytes]:
    """Let a call fail with EPERM when a test falls through to its end.

    The test leaves by a jump over one instruction, its failure; the number of the call is loaded
    again after it, for the rules to come.
    """
    steps = list(test)
    return [
        _op(_EQUAL, known.calls[name], jf=len(steps) + 1),
        *steps,
        _fail(),
        _load(_NUMBER_AT),
    ]


def _one_of(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Fall through when an argument is one of these."""
    last = len(values) - 1
    tests = [
        _op(_EQUAL, value, jt=last - i, jf=0 if i < last else 1) for i, value in enumerate(values)
    ]
    return [_load(_argument(argument)), *tests]


def _none_of(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Fall through when an argument is none of these."""
    tests = [_op(_EQUAL, value, jt=len(values) - i) for i, value in enumerate(values)]
    return [_load(_argument(argument)), *tests]


def _argument(index: int) -> int:
    """Where the low half of an argument is; the kernel takes ints from it, too."""
    return 16 + 8 * index


def _load(offset: int) -> bytes:
    return _op(_LOAD, offset)


def _fail(number: int = errno.EPERM) -> bytes:
    return _op(_RETURN, 0x00050000 | number)


def _op(code: int, k: int, *, jt: int = 0, jf: int = 0) -> bytes:
    # Both machines are little-endian.
    return struct.pack("<HBBI", code, jt, jf, k)
