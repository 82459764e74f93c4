"""What the worker cannot do once a stranger's file is in it: Linux's Landlock and seccomp.

After `enter` the process can read its interpreter, its libraries and the model's files, and
compute. It cannot open anything else, write, reach a network, start a program or touch
another process. It costs less than a millisecond. On other systems, and on kernels without
these, the worker runs as before and says which level was reached.

Landlock: include/uapi/linux/landlock.h; seccomp: include/uapi/linux/seccomp.h, filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from launcher.engine import syscalls


class Level(StrEnum):
    """How far the worker is confined."""

    FULL = "full"
    DEVICE = "device"
    """Full, but that a graphics driver can reach its devices."""
    PARTIAL = "partial"
    NONE = "none"


# --- Landlock -----------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _COMMAND_DEVICE = 1 << 1, 1 << 2, 1 << 3, 1 << 15
# Rights on files that each version of Landlock knows: all of them are taken away, and reading
# is given back where it is needed.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK_VERSION, _SCOPE_VERSION = 4, 6
_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

# What an interpreter and its libraries read besides their own folders.
_READABLE = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system",
    "/dev/null",
    "/dev/urandom",
)


def _ruleset(files: Sequence[int], folders: Sequence[Path], devices: Sequence[str]) -> int | None:
    """Takes away every right on files but reading what is named; None where it cannot be had.

    Devices may be written and commanded as well. It is an open file, for `_restrict`.
    """
    system = ctypes.CDLL(None, use_errno=True)
    version = system.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return None
    rights = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= version)]
    network = _BIND_AND_CONNECT if version >= _NETWORK_VERSION else 0
    scope = _ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPE_VERSION else 0
    attributes = struct.pack("<QQQ", rights, network, scope)
    size = 24 if scope else 16 if network else 8
    ruleset: int = system.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return None
    try:
        for descriptor in files:
            _allow(system, ruleset, descriptor, _READ_FILE)
        for path in (*_readable(), *map(str, folders)):
            _allow_path(system, ruleset, path)
        for path in devices:
            _allow_path(system, ruleset, path, more=_WRITE_FILE | (_COMMAND_DEVICE & rights))
    except OSError:  # a rule was refused
        os.close(ruleset)
        return None
    return ruleset


def _restrict(ruleset: int | None) -> bool:
    """Lives by it from now on; False where that cannot be."""
    system = ctypes.CDLL(None, use_errno=True)
    return ruleset is not None and bool(system.syscall(_RESTRICT_SELF, ruleset, 0) == 0)


def _readable() -> Iterator[str]:
    """The interpreter, this package, and what libraries read."""
    own = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]))
    # Packages may lie elsewhere: a distribution's, or those of another environment.
    packages = (path for path in sys.path if path.endswith(("site-packages", "dist-packages")))
    yield from dict.fromkeys((*own, *packages))
    yield from _READABLE


def _allow_path(system: ctypes.CDLL, ruleset: int, path: str, *, more: int = 0) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this system
    try:
        rights = _READ_FILE | (_READ_DIR if Path(path).is_dir() else 0)
        _allow(system, ruleset, descriptor, rights | more)
    finally:
        os.close(descriptor)


def _allow(system: ctypes.CDLL, ruleset: int, descriptor: int, rights: int) -> None:
    rule = struct.pack("<Qi", rights, descriptor)
    if system.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
        number = ctypes.get_errno()
        if number != errno.EBADFD:  # a file of no file system: Landlock lets everybody read it
            raise OSError(number, "a Landlock rule was refused")


# --- seccomp --------------------------------------------------------------------------------------

_SET_MODE_FILTER, _TSYNC = 1, 1
# Before Linux 5.16 a filter makes its process slower against leaks by speculation, which need a
# secret in the same process; before 4.17 that cannot be left out.
_SPEC_ALLOW = 4
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000  # with an errno in the low bits
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 24, 32
_CLONE_THREAD = 0x00010000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_X32 = 0x40000000  # numbers from here on are the calls of x86-64's other interface
_OWN = 0xFFFF_0A0A  # stands for the number of the process, which no process has
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

Instruction = tuple[int, int, int, int]


def _filter(*, graphics: bool) -> bytes:
    """Refuses the system calls that a computation never makes; empty where none can be had.

    With `graphics`, what drivers need to reach their devices is allowed, and so is opening
    files to write, which is left to Landlock.
    """
    machine = platform.machine()
    if machine not in _AUDIT:
        return b""
    program = _program(machine, graphics=graphics)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _refused(code: bytes) -> bool:
    """Makes no such calls from now on; False where that cannot be."""
    if not code:
        return False
    code = code.replace(struct.pack("<I", _OWN), struct.pack("<I", os.getpid()))
    buffer = ctypes.create_string_buffer(code)
    length = len(code) // struct.calcsize("<HBBI")
    pointer = struct.pack("<H6xQ", length, ctypes.addressof(buffer))
    system = ctypes.CDLL(None, use_errno=True)
    number = syscalls.SECCOMP[syscalls.COLUMNS.index(platform.machine())]
    ways = (_TSYNC | _SPEC_ALLOW, _TSYNC)
    return any(system.syscall(number, _SET_MODE_FILTER, way, pointer) == 0 for way in ways)


def _program(machine: str, *, graphics: bool) -> Iterator[Instruction]:
    """The filter, one rule after the other; what no rule names is allowed."""
    column = syscalls.COLUMNS.index(machine)
    yield (_LOAD, 0, 0, _ARCHITECTURE)
    yield (_JUMP_EQUAL, 1, 0, _AUDIT[machine])
    yield (_RETURN, 0, 0, _KILL)
    yield (_LOAD, 0, 0, _NUMBER)
    if machine == "x86_64":
        yield (_JUMP_FROM, 0, 1, _X32)
        yield (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)
    yield from _refuse(
        syscalls.CLONE3, errno.ENOSYS
    )  # its flags lie in memory; clone is tried next
    for name, numbers in syscalls.refused():
        number = numbers[column]
        if number is not None and not (graphics and name in syscalls.OF_DRIVERS):
            yield from _refuse(number, errno.EPERM)
    yield from _judge(syscalls.CLONE[column], _FIRST_ARGUMENT, _JUMP_ANY_BIT, _CLONE_THREAD)
    yield from _judge(syscalls.TGKILL[column], _FIRST_ARGUMENT, _JUMP_EQUAL, _OWN)
    yield from _judge(syscalls.PRLIMIT[column], _FIRST_ARGUMENT, _JUMP_EQUAL, 0)
    dies = _PR_SET_PDEATHSIG
    yield from _judge(syscalls.PRCTL[column], _FIRST_ARGUMENT, _JUMP_EQUAL, dies, refuse=True)
    opened = [(syscalls.OPENAT[column], _THIRD_ARGUMENT), (syscalls.OPEN[column], _SECOND_ARGUMENT)]
    for number, flags in () if graphics else opened:
        if number is not None:
            yield from _judge(number, flags, _JUMP_ANY_BIT, _WRITING, refuse=True)
    yield (_RETURN, 0, 0, _ALLOW)


def _refuse(number: int, error: int) -> Iterator[Instruction]:
    yield (_JUMP_EQUAL, 0, 1, number)
    yield (_RETURN, 0, 0, _REFUSE | error)


def _judge(
    number: int, argument: int, test: int, value: int, *, refuse: bool = False
) -> Iterator[Instruction]:
    """Allows a call when one of its arguments passes a test; with `refuse`, when it does not."""
    yield (_JUMP_EQUAL, 0, 4, number)
    yield (_LOAD, 0, 0, argument)
    yield (test, 1 - refuse, int(refuse), value)
    yield (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    yield (_RETURN, 0, 0, _ALLOW)


# --- Both -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """What a process is to live by; made once for several that are forked one after the other."""

    ruleset: int | None
    """An open file, which they inherit; none where there is no Landlock."""
    code: bytes
    """The filter of system calls; empty where there is none."""
    highest: Level

    @classmethod
    def of(
        cls, files: Sequence[int] = (), folders: Sequence[Path] = (), *, graphics: bool = False
    ) -> Rules:
        """`files` are the open model files that may still be mapped and read.

        What is in `folders` may be read as well; with `graphics`, drivers reach their devices.
        """
        if sys.platform != "linux":
            return cls(None, b"", Level.NONE)
        devices: Sequence[str] = ()
        if graphics:
            from launcher.engine import graphics as known

            folders, devices = [*folders, *map(Path, known.READABLE)], known.files()
        highest = Level.DEVICE if graphics else Level.FULL
        return cls(_ruleset(files, folders, devices), _filter(graphics=graphics), highest)

    def enter(self) -> Level:
        """Confines this process.

        Only the thread that calls this and those it starts later are confined by Landlock, so
        it is to be called before there are others.
        """
        if self.highest is Level.NONE:
            return Level.NONE
        system = ctypes.CDLL(None, use_errno=True)
        if system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return Level.NONE
        reached = (_restrict(self.ruleset), _refused(self.code))
        return self.highest if all(reached) else Level.PARTIAL if any(reached) else Level.NONE

    def close(self) -> None:
        """For the process that has made them, or has entered."""
        if self.ruleset is not None:
            os.close(self.ruleset)


def enter(files: Sequence[int], folders: Sequence[Path] = (), *, graphics: bool = False) -> Level:
    """Confines this process by `Rules` of its own."""
    rules = Rules.of(files, folders, graphics=graphics)
    try:
        return rules.enter()
    finally:
        rules.close()


def reachable() -> Level:
    """The level that a process reaches here, by one that tries."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", __name__], capture_output=True, text=True, check=True
    )
    return Level(done.stdout.strip())


if __name__ == "__main__":
    os.write(1, enter(()).encode())
