"""Layers on graphics devices: how many, what that leaves to the memory, and what is said without.

This computer has no such device, so devices are described here; what was tried with a real
driver is in docs/speed.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.engine import environment, fit, graphics, kv, machine
from launcher.engine.fit import Plan, Wishes
from launcher.engine.graphics import ALL, Device
from launcher.errors import DoesNotFit
from launcher.installation import backends
from launcher.models import catalogue, sources
from launcher.models.refs import PathRef
from tests.command import Here, launcher
from tests.headers import write_model

CARD = Device(
    name="Vulkan0", description="a card", free=8 << 30, total=8 << 30, shares_memory=False
)


def planned(
    path: Path, device: Device | None, layers: int | None = None, *, force: bool = False
) -> Plan:
    here = replace(machine.measure(), memory_available=64 << 30, features=frozenset({"avx2"}))
    with sources.resolved(PathRef(path), catalogue.load()) as bundle:
        assert bundle.main.header is not None
        wishes = Wishes(gpu_layers=layers, force=force)
        devices = () if device is None else (device,)
        return fit.plan([bundle.main.header], bundle.size, here, wishes, devices=devices)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """Of the shape of Llama 3.2 1B: 16 layers, and an output that is the embedding."""
    return write_model(tmp_path / "1b.gguf", "llama-3.2-1b")


def test_with_room_for_all_layers_all_are_taken_and_leave_the_memory(llama: Path) -> None:
    plain, plan = planned(llama, None).memory, planned(llama, CARD)
    assert (plain.repacked > 0, plan.gpu_layers, plan.message()["gpu_layers"]) == (True, 17, 17)
    assert plan.memory.kv_cache == 0
    assert plan.memory.repacked == 0
    assert plan.memory.weights < plain.weights / 2  # the embedding stays


def test_where_not_all_fit_the_last_ones_go_and_the_others_stay(llama: Path) -> None:
    some = planned(llama, replace(CARD, free=1200 << 20))
    assert 0 < some.gpu_layers < 17
    fewer = planned(llama, replace(CARD, free=1100 << 20))
    assert 0 < fewer.gpu_layers < some.gpu_layers
    assert some.memory.total < fewer.memory.total < planned(llama, None).memory.total
    assert planned(llama, replace(CARD, free=64 << 20)).gpu_layers == 0


def test_a_number_that_does_not_fit_is_refused_with_one_that_does(llama: Path) -> None:
    card = replace(CARD, free=1200 << 20)
    most = planned(llama, card).gpu_layers
    with pytest.raises(DoesNotFit) as caught:
        planned(llama, card, ALL)
    assert f"-ngl {most}, or -ngl auto" in caught.value.hint
    assert planned(llama, card, most).gpu_layers == most
    assert planned(llama, card, ALL, force=True).gpu_layers == 17
    assert planned(llama, card, 0).gpu_layers == 0
    assert planned(llama, CARD, 99).gpu_layers == 17


def test_a_device_that_shares_the_memory_takes_nothing_from_it(llama: Path) -> None:
    plan = planned(llama, replace(CARD, shares_memory=True))
    assert plan.gpu_layers == 17
    assert plan.memory == planned(llama, None).memory


def test_layers_take_their_keys_and_values_along(llama: Path) -> None:
    plan = planned(llama, CARD, 9)  # the output and half of the layers
    with sources.resolved(PathRef(llama), catalogue.load()) as bundle:
        assert bundle.main.header is not None
        assert plan.memory.kv_cache == plan.context * kv.bytes_per_token(bundle.main.header) // 2


# --- A build without ----------------------------------------------------------------------------


def test_without_a_backend_nothing_shows_and_layers_end_with_a_sentence(here: Here) -> None:
    assert graphics.backends() == ()
    assert "gpu-layers" not in here("run", "--help").out
    asked = here("run", "smollm2:135m", "--as", "individual:DE", "-ngl", "all", "Hi")
    assert asked.code == 8
    assert "This build of the engine computes on processors alone" in asked.err
    assert "doctor --rebuild --backend vulkan" in asked.err
    none = launcher("run", "smollm2:135m", "--as", "individual:DE", "-ngl", "0", "-n", "1", "Hi")
    assert none.code == 0
    assert here("run", "smollm2:135m", "-ngl", "some", "Hi").code == 2
    assert here("doctor", "--backend", "vulkan").code == 2
    assert "Graphics:" not in here("doctor").out


def test_a_backend_is_seen_by_its_library(tmp_path: Path) -> None:
    lib = tmp_path / "llama_cpp" / "lib"
    lib.mkdir(parents=True)
    (lib.parent / "__init__.py").touch()
    for name in ("ggml-base", "ggml-cpu-haswell", "ggml-vulkan", "ggml-cuda", "llama"):
        (lib / f"lib{name}.so").touch()
    code = "from launcher.engine import graphics; print(graphics.backends())"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.check_output(
        [sys.executable, "-c", code], text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done == "('cuda', 'vulkan')\n"


def test_the_engine_of_this_computer_lists_no_devices() -> None:
    assert graphics.devices() == ()


def test_the_worker_is_told_which_devices_but_not_which_drivers() -> None:
    given = {"CUDA_VISIBLE_DEVICES": "1", "VK_ICD_FILENAMES": "/tmp/driver.json"}
    told = environment.for_the_worker(given)
    assert told["CUDA_VISIBLE_DEVICES"] == "1"
    assert "VK_ICD_FILENAMES" not in told


# --- Building one -------------------------------------------------------------------------------


def test_what_a_backend_is_built_with_comes_after_what_the_user_says() -> None:
    assert backends.environment({}, "vulkan") == {"CMAKE_ARGS": "-DGGML_VULKAN=on"}
    given = {"CMAKE_ARGS": "-DGGML_LTO=on", "HOME": "/home/x"}
    built = backends.environment(given, "cuda")
    assert built == {"CMAKE_ARGS": "-DGGML_LTO=on -DGGML_CUDA=on", "HOME": "/home/x"}


def test_what_a_backend_lacks_is_said_before_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = here("doctor", "--rebuild", "--backend", "cuda")
    assert result.code == 1
    assert "the program nvcc is needed" in result.err
    metal = backends.missing("metal")
    assert (metal is None) == (sys.platform == "darwin")
    shutil.copy(shutil.which("true", path=os.defpath) or "/bin/true", tmp_path / "glslc")
    assert backends.missing("vulkan") is None
