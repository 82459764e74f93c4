"""What of the engine is installed in this Python environment, and whether it is proven.

A proof is kept in the environment's folder, so that it goes with it, and holds good for one
version of the engine, its very libraries, and one kind of processor.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import site
import sys
from pathlib import Path
from typing import Any

from launcher import files

WHEEL = "llama_cpp_python"  # the engine's package as file names spell it
PROOF = "launcher-engine.json"
_EXTRA_BUFFERS = "extra_buffers"


def is_ready() -> bool:
    """Whether the engine is here, and proven for this processor. Takes about a millisecond."""
    return _valid_proof() is not None


def uses_extra_buffers() -> bool:
    """Whether the engine may lay weights out anew: not where it was proven only without."""
    proof = _valid_proof()
    return proof is None or proof[_EXTRA_BUFFERS]


def keep_proof(*, extra_buffers: bool) -> None:
    """Notes that the engine that is installed now works here, and how."""
    proof = {**(_fingerprint() or {}), _EXTRA_BUFFERS: extra_buffers}
    with contextlib.suppress(PermissionError):
        files.write_atomically(home() / PROOF, json.dumps(proof, indent=1).encode(), mode=0o644)


def drop_proof() -> None:
    """Forgets that the engine worked."""
    (home() / PROOF).unlink(missing_ok=True)


def home() -> Path:
    """The folder that takes proofs and logs."""
    return next((folder for folder in _homes() if os.access(folder, os.W_OK)), _homes()[-1])


def _homes() -> tuple[Path, ...]:
    """Where proofs are looked for: the environment, or the user's own packages."""
    return Path(sys.prefix), Path(site.getuserbase())


def _valid_proof() -> dict[str, Any] | None:
    """What was noted of the engine as it is now; None where nothing was."""
    now = _fingerprint()
    if now is not None:
        valid = ({**now, _EXTRA_BUFFERS: True}, {**now, _EXTRA_BUFFERS: False})
        for proof in map(_proof, _homes()):
            if proof in valid:
                return dict(proof)
    return None


def _proof(folder: Path) -> Any:
    try:
        return json.loads((folder / PROOF).read_bytes())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def _fingerprint() -> dict[str, Any] | None:
    """What a proof holds good for: the engine, its libraries, the processor."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(spec.submodule_search_locations[0])
    versions = sorted(path.name for path in package.parent.glob(f"{WHEEL}-*.dist-info"))
    libraries = {}
    for path in sorted((package / "lib").glob("*")):
        status = path.stat()
        libraries[path.name] = [status.st_size, status.st_mtime_ns]
    return {"engine": versions, "libraries": libraries, "processor": _processor()}


# Lines of /proc/cpuinfo that stay the same, on x86, ARM and RISC-V.
_LASTING = re.compile(
    r"(vendor_id|cpu family|model|model name|stepping|flags|Features|isa|uarch"
    r"|CPU (implementer|architecture|variant|part))\s*:"
)


def _processor() -> list[str]:
    """The first processor's kind and features; the rest of a long list is not read."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as stream:
            first = stream.read(16384).decode("ascii", "replace").partition("\n\n")[0]
    except OSError:
        return [os.environ.get("PROCESSOR_IDENTIFIER", ""), sys.platform]
    return [line for line in first.splitlines() if _LASTING.match(line)]
