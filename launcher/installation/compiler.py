"""The compiler that builds the engine: whether it is there, and what it must be told.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.engine import machine
from launcher.errors import LauncherError

# The engine's matrix code for AMX is ended by SIGILL on prompts of two tokens or more when GCC
# 12 built it (llama.cpp#26954: stores to the tile configuration are dropped; and the permission
# to use tiles is a thread's own). The first of these alone does not compile.
WITHOUT_AMX = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")

MEMORY_PER_JOB = 1 << 30  # bytes; the largest files of the engine take about 0.7 GB
_PATIENCE = 60.0  # seconds for a compiler to answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How one language is compiled, in the environment's words."""

    title: str
    name: str
    command: str
    flags: str
    usual: tuple[str, ...]
    probe: str


LANGUAGES = (
    Language(
        title="C",
        name="c",
        command="CC",
        flags="CFLAGS",
        usual=("cc", "gcc", "clang"),
        probe="#include <stdlib.h>\n",
    ),
    Language(
        title="C++",
        name="c++",
        command="CXX",
        flags="CXXFLAGS",
        usual=("c++", "g++", "clang++"),
        probe="#include <vector>\n",
    ),
)

# What installs a compiler, by the package manager that is there.
_REMEDIES = (
    ("apt-get", "sudo apt install build-essential"),
    ("dnf", "sudo dnf install gcc-c++"),
    ("zypper", "sudo zypper install gcc-c++"),
    ("pacman", "sudo pacman -S base-devel"),
    ("apk", "sudo apk add build-base linux-headers"),
)
_HAS_MANAGERS = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def flags(environment: Mapping[str, str], features: frozenset[str] | None = None) -> dict[str, str]:
    """The environment for a build of the engine that works on this processor.

    What the user has in CFLAGS, CXXFLAGS and the like stays. `features` are the processor's,
    measured when not given.
    """
    known = machine.features() if features is None else features
    built = dict(environment)
    if any(feature.startswith("amx") for feature in known):
        for language in LANGUAGES:
            if _compiles(language, environment, WITHOUT_AMX):
                built[language.flags] = _joined(environment.get(language.flags, ""), WITHOUT_AMX)
    return built


def jobs() -> int:
    """Files to compile at once, so that neither processors nor memory are overrun."""
    measured = machine.measure()
    return max(1, min(measured.processors, measured.memory_available // MEMORY_PER_JOB))


def missing(environment: Mapping[str, str]) -> LauncherError | None:
    """What to tell a user whose C or C++ compiler does not work; None when both do."""
    if sys.platform == "win32":
        return None  # CMake finds Visual Studio by itself, and says when it does not
    for language in LANGUAGES:
        if not _compiles(language, environment):
            return absent(language.title, environment.get(language.command, ""))
    return None


def absent(title: str, chosen: str = "") -> LauncherError:
    """The error for a compiler that is not there; `chosen` is what CC or CXX names."""
    named = f" ('{chosen}' does not)" if chosen else ""
    return LauncherError(
        f"The engine must be compiled on this computer, and no {title} compiler works here{named}",
        hint="Install one, then run the same command again:",
        commands=[_remedy()],
    )


def _remedy() -> str:
    if sys.platform == "darwin":
        return "xcode-select --install"
    if sys.platform == "win32":
        return "winget install Microsoft.VisualStudio.2022.BuildTools"
    for manager, command in _REMEDIES:
        if shutil.which(manager, path=_HAS_MANAGERS):
            return command
    return "CC=/path/to/gcc CXX=/path/to/g++ launcher doctor --rebuild"


def _compiles(
    language: Language, environment: Mapping[str, str], options: Sequence[str] = ()
) -> bool:
    """Whether a line that includes a header goes through; that shows more than a version."""
    command = _command(language, environment)
    if not command:
        return False
    try:
        done = subprocess.run(
            [*command, *options, "-x", language.name, "-fsyntax-only", "-"],
            input=language.probe,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _command(language: Language, environment: Mapping[str, str]) -> list[str]:
    """The compiler as the environment names it, or the first of the usual ones."""
    chosen = environment.get(language.command, "").split()
    path = environment.get("PATH", os.defpath)
    for name in chosen[:1] or language.usual:
        found = shutil.which(name, path=path)
        if found:
            return [found, *chosen[1:]]
    return []


def _joined(given: str, wanted: Sequence[str]) -> str:
    missing_ones = [flag for flag in wanted if flag not in given.split()]
    return " ".join([given, *missing_ones] if given else missing_ones)
