"""Prints the engine's graphics devices: `python -I -m launcher.engine.worker.devices`."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from typing import Any

from launcher.engine.worker import llama

# enum ggml_backend_dev_type, in llama.cpp's ggml/include/ggml-backend.h
_GRAPHICS, _SHARES_MEMORY = 1, 2


def listed() -> Iterator[dict[str, Any]]:
    """As `graphics.Device` has them."""
    llama.start()
    ggml: Any = llama.lib._lib  # noqa: SLF001  # and what it was linked with
    for name in ("get", "name", "description", "memory", "type"):
        getattr(ggml, f"ggml_backend_dev_{name}").argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p] * 3
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_name.restype = ctypes.c_char_p
    ggml.ggml_backend_dev_description.restype = ctypes.c_char_p
    for number in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(number)
        kind = ggml.ggml_backend_dev_type(device)
        if kind in (_GRAPHICS, _SHARES_MEMORY):
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            yield {
                "name": ggml.ggml_backend_dev_name(device).decode("utf-8", "replace"),
                "description": ggml.ggml_backend_dev_description(device).decode("utf-8", "replace"),
                "free": free.value,
                "total": total.value,
                "shares_memory": kind == _SHARES_MEMORY,
            }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(list(listed())))
