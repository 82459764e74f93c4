"""What this machine has to give: processors and memory, limits of a container included."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROCESSORS = Path("/sys/devices/system/cpu")
_FAST = 0.8  # of the fastest core's speed; cores of one kind differ by less


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Measured once, before a plan is made."""

    processors: int
    """That this process may run on."""
    memory_total: int
    """Bytes; of the container where it has a limit."""
    memory_available: int
    """Bytes that can be used without pushing anything else out."""
    features: frozenset[str]
    """Of the processor, by the names Linux gives them."""


def measure() -> Machine:
    """This machine, now."""
    total, available = _memory()
    limit, used = _cgroup_memory()
    if limit is not None:
        total = min(total, limit)
        available = min(available, max(limit - used, 0))
    return Machine(
        processors=processors(),
        memory_total=total,
        memory_available=available,
        features=features(),
    )


def memory_limit() -> int | None:
    """Bytes that the container of this process may have; None where it has no limit."""
    return _cgroup_memory()[0]


def processors() -> int:
    """Processors that this process may use: affinity and a container's quota counted in."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _cgroup_processors()
    return max(1, min(count, quota) if quota else count)


def cores() -> tuple[int, int]:
    """Cores that this process may use, and the fast ones among them; 0 where that is not known.

    Two processors of a core share its arithmetic. Fast cores are those of the highest capacity
    (ARM) or, where all are listed as one kind, of the highest clock (x86).
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0, 0
    groups: dict[str, float] = {}
    for number in os.sched_getaffinity(0):
        folder = _PROCESSORS / f"cpu{number}"
        siblings = _text(folder / "topology" / "thread_siblings_list").strip()
        capacity = _text(folder / "cpu_capacity") or _text(folder / "cpufreq/cpuinfo_max_freq")
        speed = float(capacity) if capacity.strip().isdigit() else 0.0
        groups[siblings or str(number)] = speed
    top = max(groups.values(), default=0.0)
    return len(groups), sum(speed >= _FAST * top for speed in groups.values())


def features() -> frozenset[str]:
    """The processor's features as `/proc/cpuinfo` lists them; empty elsewhere."""
    match = re.search(
        r"^(?:flags|Features)\s*:\s*(.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE
    )
    return frozenset(match[1].split()) if match else frozenset()


def processor_name() -> str:
    """The processor as it calls itself."""
    match = re.search(r"^model name\s*:\s*(.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    if match:
        return match[1].strip()
    import platform

    return platform.processor() or platform.machine()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _memory() -> tuple[int, int]:
    """Total and available bytes."""
    if sys.platform == "win32":
        return _windows_memory()
    values = {
        key: int(value) * 1024
        for key, value in re.findall(
            r"^(\w+):\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE
        )
    }
    if "MemTotal" in values:
        return values["MemTotal"], values.get("MemAvailable", values["MemTotal"])
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total, total


if sys.platform == "win32":
    import ctypes

    class _MemoryStatus(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 5),
        ]

    def _windows_memory() -> tuple[int, int]:
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total), int(status.available)


def _own_cgroup() -> Path:
    """The folder of this process's control group (version 2)."""
    match = re.search(r"^0::(/.*)$", _text(Path("/proc/self/cgroup")), re.MULTILINE)
    return _CGROUP / match[1].lstrip("/") if match else _CGROUP


def _cgroup_chain() -> list[Path]:
    """The control group and those above it: the tightest limit counts."""
    folder = _own_cgroup()
    chain = [folder, *folder.parents]
    return [path for path in chain if path.is_relative_to(_CGROUP) and path.is_dir()]


def _cgroup_memory() -> tuple[int | None, int]:
    """The limit in bytes, or None, and what of it is used and cannot be dropped."""
    best: tuple[int | None, int] = (None, 0)
    for folder in _cgroup_chain():
        limit = _text(folder / "memory.max").strip()
        if not limit.isdigit():
            continue
        used = _text(folder / "memory.current").strip()
        match = re.search(r"^inactive_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
        droppable = int(match[1]) if match else 0
        busy = max(int(used or 0) - droppable, 0)
        if best[0] is None or int(limit) - busy < best[0] - best[1]:
            best = (int(limit), busy)
    return best


def _cgroup_processors() -> int | None:
    """Whole processors that the container's quota allows, rounded up; None without a quota."""
    counts = []
    for folder in _cgroup_chain():
        quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            counts.append(-(-int(quota) // int(period)))
    return min(counts) if counts else None
