"""The graphics backends that the engine can be built with, and what their builds need.

Standard library only, as all that the set-up imports.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.engine.graphics import BACKENDS
from launcher.errors import LauncherError

_CMAKE = "CMAKE_ARGS"  # what scikit-build-core, which builds the engine, hands to CMake


@dataclass(frozen=True, slots=True)
class _Tool:
    """A program that a backend's build needs, and where it comes from."""

    program: str
    hint: str
    commands: tuple[str, ...] = ()


_TOOLS = {
    "cuda": _Tool("nvcc", "Install NVIDIA's CUDA Toolkit, so that `nvcc --version` answers."),
    "vulkan": _Tool(
        "glslc",
        "Install the Vulkan SDK: headers not older than 1.3.283, and the shader compiler.",
        ("sudo apt install libvulkan-dev glslc spirv-headers",),
    ),
}


def missing(backend: str) -> LauncherError | None:
    """What stands in the way of a build with a backend, known before the wait; None if nothing."""
    if backend == "metal" and sys.platform != "darwin":
        return LauncherError("Metal is a part of macOS, and this is another system")
    tool = _TOOLS.get(backend)
    if tool is None or shutil.which(tool.program):
        return None
    return LauncherError(
        f"To build the engine with {backend}, the program {tool.program} is needed",
        hint=tool.hint,
        commands=tool.commands,
    )


def environment(given: Mapping[str, str], backend: str) -> dict[str, str]:
    """The environment of a build with a backend; what the user tells CMake stays."""
    options = [given.get(_CMAKE, ""), BACKENDS[backend]]
    return {**given, _CMAKE: " ".join(option for option in options if option)}
