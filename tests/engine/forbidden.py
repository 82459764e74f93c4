"""A process that confines itself as the worker does, then tries what a stranger's file might.

`python forbidden.py free|confined|graphics PORT`, in a user's folder and with the model's file as
standard input. It prints what came of each action as JSON: `done`, or the name of the error.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path()
PARENT = os.getppid()
LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_TRACEME, PR_SET_PDEATHSIG = 0, 1


def checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def _tcp() -> None:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=2).close()


def _udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.sendto(b"hello", ("127.0.0.1", int(sys.argv[2])))


def _unix() -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(FOLDER / "socket"))


def _listen() -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()


def _child() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _peek() -> None:
    """Reads a byte of the parent's memory through its file."""
    with open(f"/proc/{PARENT}/mem", "rb") as memory, open(f"/proc/{PARENT}/maps") as maps:
        memory.seek(int(maps.readline().partition("-")[0], 16))
        memory.read(1)


def _signal() -> None:
    os.kill(PARENT, 0)


def _thread_signal() -> None:
    checked(LIBC.syscall({"x86_64": 234, "aarch64": 131}[os.uname().machine], PARENT, PARENT, 0))


def _overwrite() -> None:
    """The model itself, through another name of it."""
    os.close(os.open("/proc/self/fd/0", os.O_WRONLY))


def _cut() -> None:
    os.close(os.open(FOLDER / "precious", os.O_RDONLY | os.O_TRUNC))


FORBIDDEN: dict[str, Callable[[], object]] = {
    "tcp": _tcp,
    "udp": _udp,
    "unix socket": _unix,
    "listen": _listen,
    "socket pair": lambda: socket.socketpair(),
    "write": lambda: (FOLDER / "new").write_text("x"),
    "append": lambda: (FOLDER / "precious").open("a").close(),
    "cut": _cut,
    "overwrite the model": _overwrite,
    "delete": lambda: (FOLDER / "spare").unlink(),
    "rename": lambda: (FOLDER / "other").rename(FOLDER / "renamed"),
    "make a folder": lambda: (FOLDER / "folder").mkdir(),
    "link": lambda: (FOLDER / "link").symlink_to("precious"),
    "change rights": lambda: (FOLDER / "precious").chmod(0o600),
    "change times": lambda: os.utime(FOLDER / "precious"),
    "read home": lambda: (FOLDER / "precious").read_text(),
    "list home": lambda: list(FOLDER.iterdir()),
    "read passwords": lambda: Path("/etc/passwd").read_text(),
    "read another's memory": _peek,
    "fork": _child,
    "run a program": lambda: subprocess.run(["/bin/true"], check=True),
    "ptrace": lambda: checked(LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0)),
    "signal": _signal,
    "signal a thread": _thread_signal,
    "limit another": lambda: resource.prlimit(PARENT, resource.RLIMIT_CORE),
    "outlive the launcher": lambda: checked(LIBC.prctl(PR_SET_PDEATHSIG, 0)),
    "shared memory": lambda: checked(LIBC.shmget(0, 4096, 0o1600)),
}


def _map() -> None:
    """What loading does: the file by its descriptor and by its name below /proc, mapped."""
    with open("/proc/self/fd/0", "rb") as stream:
        assert stream.read(4) == b"GGUF"
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert mapped[:4] == b"GGUF"


def _thread() -> None:
    import threading

    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def _late_import() -> None:
    import wsgiref.util  # noqa: F401


NEEDED: dict[str, Callable[[], object]] = {
    "map the model": _map,
    "start a thread": _thread,
    "import": _late_import,
}


def outcome(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def main() -> None:
    level = "free"
    if sys.argv[1] != "free":
        from launcher.engine.worker import limits, service

        limits.end_with_parent()
        limits.limit()
        level = service.confined([0], graphics=sys.argv[1] == "graphics")
    needed = {name: outcome(action) for name, action in NEEDED.items()}
    forbidden = {name: outcome(action) for name, action in FORBIDDEN.items()}
    json.dump({"level": level, "needed": needed, "forbidden": forbidden}, sys.stdout)


if __name__ == "__main__":
    main()
