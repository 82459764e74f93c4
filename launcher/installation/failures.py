"""Why a step of the set-up failed, found in its last words, and what helps.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import errno
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from launcher.errors import LauncherError, NotFound
from launcher.installation import compiler


class NotOffered(LauncherError):
    """The registry was reached, and does not have what was asked for."""


_FULL = re.compile(r"No space left on device|Disk quota exceeded|There is not enough space")
_KILLED = re.compile(
    r"Killed signal terminated program|fatal error: Killed|virtual memory exhausted"
    r"|out of memory allocating|Cannot allocate memory|^\s*MemoryError\b"
)
_NO_COMPILER = re.compile(
    r"No CMAKE_C(XX)?_COMPILER could be found|CMAKE_C(XX)?_COMPILER not set"
    r"|C(XX)? compiler .* is not able to compile"
)
_NO_PIP = re.compile(r"No module named '?(pip|ensurepip)\b")
_UNREACHABLE = re.compile(
    r"after connection broken by|Failed to establish a new connection|Connection refused"
    r"|Temporary failure in name resolution|Name or service not known|Network is unreachable"
    r"|Read timed out|ReadTimeoutError|ConnectTimeoutError|CERTIFICATE_VERIFY_FAILED"
    r"|ProxyError|Max retries exceeded|Connection to .* timed out|connection reset",
    re.IGNORECASE,
)
_NOT_OFFERED = re.compile(r"No matching distribution found for (\S+)")
_TELLING = re.compile(r"\s*(ERROR|error|CMake Error|fatal error)\b")


def explained(
    command: Sequence[str], status: int, lines: Sequence[str], log: Path
) -> LauncherError:
    """Why a program of the set-up failed, from its last words, and what helps."""
    again = shlex.join(command)

    def found(pattern: re.Pattern[str]) -> re.Match[str] | None:
        return next((match for line in lines if (match := pattern.search(line))), None)

    if found(_FULL):
        return full()
    if status == -9 or found(_KILLED):
        return _no_memory(again)
    if found(_NO_COMPILER):
        return compiler.absent("C++")
    if match := found(_NO_PIP):
        return without(match[1], command[0])
    if found(_UNREACHABLE):
        return _unreachable(again)
    if match := found(_NOT_OFFERED):
        return NotOffered(
            f"The package registry that pip uses does not offer {match[1]} for this Python",
            hint="See which registry it is, or use another Python (PYTHON=/path/to/python3).",
            commands=[f"{shlex.quote(command[0])} -m pip config list"],
        )
    return LauncherError(
        f"The set-up could not go on: {_last_words(lines) or f'exit code {status}'}".rstrip("."),
        hint=f"All of its output is in {log}. This is the step that failed:",
        commands=[again],
    )


def full() -> LauncherError:
    """The error for a disk that is full."""
    folders = dict.fromkeys([tempfile.gettempdir(), str(Path.cwd())])
    return LauncherError(
        "There is no space left on the disk",
        hint="Make room, and run the same command again. How full it is:",
        commands=[shlex.join(["df", "-h", *folders])],
    )


def lack_of_space(needs: Sequence[tuple[Path, int]]) -> LauncherError | None:
    """The error for a disk with too little room for what is to come; None when there is enough.

    `needs` are folders and the bytes that are going to be written there.
    """
    together: dict[int, int] = {}
    for folder, size in needs:
        disk = folder.stat().st_dev
        together[disk] = together.get(disk, 0) + size
        free = shutil.disk_usage(folder).free
        if free < together[disk]:
            return _short(folder, free, together[disk])
    return None


def _short(folder: Path, free: int, needed: int) -> LauncherError:
    if str(folder) == tempfile.gettempdir():
        hint = "Make room, or name another temporary folder, and run the same command again:"
        command = "export TMPDIR=/path/with/room"
    else:
        hint = "Make room, and run the same command again. How full it is:"
        command = shlex.join(["df", "-h", str(folder)])
    return LauncherError(
        f"{folder} has {_gigabytes(free)} free, and the set-up needs {_gigabytes(needed)} there",
        hint=hint,
        commands=[command],
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def of_system(error: OSError) -> LauncherError:
    """What to tell when the system refuses something during the set-up."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return full()
    return LauncherError(
        f"The set-up could not go on: {error.strerror}: {error.filename}",
        hint="Check that the folder can be written to, and run the same command again.",
    )


def without(module: str, python: str) -> LauncherError:
    """The error for a Python that lacks `pip` or `ensurepip`."""
    if module == "pip":
        return LauncherError(
            "pip is missing in this Python environment",
            hint="Add it, then run the same command again:",
            commands=[f"{shlex.quote(python)} -m ensurepip --upgrade"],
        )
    return LauncherError(
        f"{python} cannot make environments, because its module {module} is missing",
        hint="Install it, then run the same command again:",
        commands=["sudo apt install python3-venv"],
    )


def _no_memory(again: str) -> LauncherError:
    return LauncherError(
        "The system ran out of memory while the engine was compiled",
        hint="Compile one file at a time, which takes longer: set CMAKE_BUILD_PARALLEL_LEVEL=1.",
        commands=[f"CMAKE_BUILD_PARALLEL_LEVEL=1 {again}"],
    )


def _unreachable(again: str) -> NotFound:
    return NotFound(
        "The package registry cannot be reached",
        hint=(
            "Go online, or tell pip of a proxy (PIP_PROXY) or a registry within reach "
            "(PIP_INDEX_URL), and run the same command again. What is installed stays. "
            "The step that failed:"
        ),
        commands=[again],
    )


def _last_words(lines: Sequence[str]) -> str:
    """The last line that names an error, or else the last line."""
    spoken = [line.strip() for line in lines if line.strip()]
    telling = [line for line in spoken if _TELLING.match(line)]
    return (telling or spoken or [""])[-1]
