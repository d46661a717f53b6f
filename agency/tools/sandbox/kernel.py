"""What this kernel can do."""

from __future__ import annotations

import sys

_CREATE_RULESET = 444
_ASK_VERSION = 1


def landlock_abi() -> int:
    """Ask which ABI of Landlock the kernel has; 0 when it has none, or it is switched off.

    Source: Linux, Documentation/userspace-api/landlock.rst, "Landlock ABI versions".
    """
    if sys.platform != "linux":
        return 0
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)))
