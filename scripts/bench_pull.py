#!/usr/bin/env python3
"""How fast a model is pulled, against `hf download` of the same file from the same server.

    scripts/bench pull [--megabytes 256] [--runs 9] [--folder FOLDER]

The hub is the one of the tests, on this computer; each run is a whole process with an empty
cache. Ours takes the digest and waits until the disk has the bytes, the other does neither.
The two take turns, who is first changes; the ratio is that of the medians, above 1 where ours
is faster. A third process reads the same bytes and throws them away: what the server can give.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.hub_server import HubServer, serving

NAME, FILE = "maker/noise-GGUF", "noise.gguf"
OURS = f"""
import pathlib, os
from launcher.models.cache import Cache
from launcher.models.hub import Hub
from launcher.models.transfer import download
hub = Hub.from_environment()
memory = pathlib.Path(os.environ["HF_HOME"], "digests.json")
download(hub.repository({NAME!r}).files, hub, Cache.from_environment(), memory=memory)
"""
NOTHING = f"""
import os, urllib.request
address = os.environ["HF_ENDPOINT"] + "/{NAME}/resolve/main/{FILE}"
with urllib.request.urlopen(address) as answer:
    while answer.read(1 << 20):
        pass
"""
WAYS: dict[str, Sequence[str]] = {
    "launcher": [sys.executable, "-c", OURS],
    "hf download": [str(Path(sys.executable).with_name("hf")), "download", NAME, FILE],
    "read only": [sys.executable, "-c", NOTHING],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where the caches are; else a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, serving() as hub:
        path = Path(folder, FILE)
        path.write_bytes(os.urandom(arguments.megabytes * 1_000_000))
        hub.add(NAME, {FILE: path})
        show(measured(hub, Path(folder), arguments.runs), arguments.megabytes)


def measured(hub: HubServer, folder: Path, runs: int) -> dict[str, list[float]]:
    """Seconds of every run; one run before does not count."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for run in range(runs + 1):
        for way in list(WAYS) if run % 2 else reversed(WAYS):
            took = pulled(way, hub, folder / "home", (folder / FILE).stat().st_size)
            if run:
                seconds[way].append(took)
    return seconds


def pulled(way: str, hub: HubServer, home: Path, size: int) -> float:
    """Seconds of a whole process; what it wrote is compared and removed."""
    variables = {**os.environ, **hub.variables(home), "PYTHONPATH": str(Path.cwd())}
    variables |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    home.mkdir()
    os.sync()
    began = time.monotonic()
    subprocess.run(WAYS[way], env=variables, check=True, capture_output=True)
    took = time.monotonic() - began
    found = [path.stat().st_size for path in home.glob(f"hub/models--*/snapshots/*/{FILE}")]
    if way != "read only" and found != [size]:
        raise SystemExit(f"{way} did not bring the whole file")
    shutil.rmtree(home)
    return took


def show(seconds: dict[str, list[float]], megabytes: int) -> None:
    print(f"{megabytes} MB, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for way, each in seconds.items():
        low, high = min(each), max(each)
        middle = statistics.median(each)
        print(f"{way:12} {middle:6.2f} s ({low:.2f} to {high:.2f}) {megabytes / middle:6.0f} MB/s")
    ratio = statistics.median(seconds["hf download"]) / statistics.median(seconds["launcher"])
    print(f"launcher / hf download: {ratio:.2f}")


if __name__ == "__main__":
    main()
