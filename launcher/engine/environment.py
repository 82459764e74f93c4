"""What of the environment the worker gets: little, and nothing that could swap the engine."""

from __future__ import annotations

import os
from collections.abc import Mapping

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "TEMP", "TMP")

# Which devices are to be used, by numbers alone.
_CHOOSING = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
)
# Drivers keep what they compiled in files, which the worker may not write.
_NOTHING_ON_DISK = {"MESA_SHADER_CACHE_DISABLE": "true", "CUDA_CACHE_DISABLE": "1"}

# What could put other libraries in the place of the engine's. The last two are set on many
# computers for other programs, so they are recorded, but not talked about.
_SWAPPING = (
    "LD_PRELOAD",
    "LD_AUDIT",
    "DYLD_INSERT_LIBRARIES",
    "LLAMA_CPP_LIB",
    "LLAMA_CPP_LIB_PATH",
    "MTMD_CPP_LIB",
    "LLAVA_CPP_LIB",
    "GGML_BACKEND_PATH",
)
_OFTEN_SET = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def for_the_worker(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The worker's whole environment."""
    kept = {name: environment[name] for name in (*_KEPT, *_CHOOSING) if name in environment}
    return {
        **kept,
        **_NOTHING_ON_DISK,
        "GGML_NO_BACKTRACE": "1",  # or ggml's abort handler starts a debugger on the dying process
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages: 1 to 2 % faster
        "OPENBLAS_NUM_THREADS": "1",  # numpy's; nothing here multiplies matrices with it
        "PYTHONIOENCODING": "utf-8",
    }


def withheld(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The variables that could have swapped the engine, and that the worker does not get."""
    return tuple(name for name in (*_SWAPPING, *_OFTEN_SET) if environment.get(name))


def unusual(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Those of them that nobody sets but to swap something."""
    return tuple(name for name in withheld(environment) if name not in _OFTEN_SET)
