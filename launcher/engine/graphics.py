"""Graphics devices that the engine's build can compute with: which there are, and their memory.

Nothing here loads the engine into this process: a build's backends are seen by its libraries,
and devices are listed by a process of its own, since drivers keep threads and files open.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.engine import environment
from launcher.engine.messages import Message
from launcher.errors import Unsupported

ALL = -1  # layers
_NO_GRAPHICS = ("base", "cpu", "blas", "amx", "rpc")  # libraries of ggml that are no such backend
_PATIENCE = 30.0  # seconds for drivers to list their devices

# What a build of the engine must be told so that it has a backend.
# Source: llama.cpp docs/build.md, and its ggml/CMakeLists.txt.
BACKENDS = {
    "cuda": "-DGGML_CUDA=on",
    "metal": "-DGGML_METAL=on",
    "vulkan": "-DGGML_VULKAN=on",
}

# What drivers open on Linux: devices to read, write and command, and descriptions to read.
_DEVICES = ("dri", "nvidia*", "kfd", "dxg")  # in /dev
READABLE = (
    "/etc/vulkan",
    "/usr/share/vulkan",
    "/usr/share/drirc.d",
    "/usr/share/libdrm",
    "/usr/share/nvidia",
    "/proc/driver/nvidia",
    "/proc/devices",
    "/sys/bus/pci",
    "/sys/class/drm",
    "/sys/class/kfd",
    "/sys/dev/char",
    "/sys/devices",
    "/usr/local/cuda",
    "/opt/rocm",
)
# Without these set, every backend looks for devices as soon as the engine starts.
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1", "GGML_VK_VISIBLE_DEVICES": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One that layers of a model can be put on."""

    name: str
    description: str
    free: int
    """Bytes."""
    total: int
    shares_memory: bool
    """Whether its memory is the machine's own."""


def backends() -> tuple[str, ...]:
    """The graphics backends of the engine that is installed. Takes about a millisecond."""
    spec = importlib.util.find_spec("llama_cpp")
    folders = spec.submodule_search_locations if spec is not None else None
    names = (path.name for path in Path(folders[0], "lib").glob("*ggml-*")) if folders else ()
    found = {name.partition("ggml-")[2].partition(".")[0].partition("-")[0] for name in names}
    return tuple(sorted(found.difference(_NO_GRAPHICS)))


def usable(layers: int | None) -> tuple[Device, ...]:
    """The devices to put so many layers on (None: as many as fit); none where none are wanted.

    Raises `Unsupported` where layers are asked for that no device can take.
    """
    known = backends()
    found = devices() if known and layers != 0 else ()
    if layers and not known:
        raise Unsupported(
            "This build of the engine computes on processors alone, so no layers can be put on a "
            "graphics device",
            hint="Without --gpu-layers it runs so. To build it with a backend:",
            commands=[f"launcher doctor --rebuild --backend {name}" for name in BACKENDS],
        )
    if layers and not found:
        raise Unsupported(
            f"The engine's build has {', '.join(known)}, but finds no graphics device",
            hint="Look whether its driver is installed, or go without: -ngl 0.",
        )
    return found


def devices() -> tuple[Device, ...]:
    """All graphics devices that the engine finds; none where it does not survive the search."""
    command = [sys.executable, "-I", "-m", "launcher.engine.worker.devices"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment.for_the_worker(),
            timeout=_PATIENCE,
            check=True,
        )
        return tuple(Device(**each) for each in json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, ValueError, IndexError, TypeError):
        return ()


def is_wanted(message: Message) -> bool:
    """Whether a load puts layers on a device."""
    return bool(message.get("gpu_layers"))


def hide() -> None:
    """Keeps the engine in this process from looking for devices."""
    os.environ.update(HIDDEN)


def files() -> list[str]:
    """The device files that are there."""
    return [str(path) for pattern in _DEVICES for path in Path("/dev").glob(pattern)]
