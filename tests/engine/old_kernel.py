"""Runs a program as on a kernel without some system calls: they fail with ENOSYS.

`python old_kernel.py landlock,seccomp PROGRAM ARGUMENT...`
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

from launcher.engine import sandbox, syscalls

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


def calls() -> dict[str, int]:
    seccomp = syscalls.SECCOMP[syscalls.COLUMNS.index(platform.machine())]
    return {"landlock": sandbox._CREATE_RULESET, "seccomp": seccomp}


def main() -> None:
    program = [(sandbox._LOAD, 0, 0, sandbox._NUMBER)]
    for name in sys.argv[1].split(","):
        program += sandbox._refuse(calls()[name], errno.ENOSYS)
    program.append((sandbox._RETURN, 0, 0, sandbox._ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    pointer = struct.pack("<H6xQ", len(program), ctypes.addressof(code))
    system = ctypes.CDLL(None, use_errno=True)
    assert system.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert system.prctl(PR_SET_SECCOMP, MODE_FILTER, pointer) == 0
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
