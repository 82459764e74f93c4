"""What the tests of the hub, the cache and the transfer share."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from launcher.models import gguf
from launcher.models.cache import Cache
from tests import headers
from tests.hub_server import hub

__all__ = ["cache", "hub", "weights"]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 25 MB whose weights are noise, so that no byte can stand for another."""
    path = tmp_path_factory.mktemp("weights") / "model-Q4_K_M.gguf"
    headers.write_model(path, layers=3, embedding=1024, feed_forward=4096, heads=16)
    with path.open("r+b") as stream:
        header = gguf.read_header(lambda offset, size: _read(path, offset, size), _size(path))
        stream.seek(header.data_offset)
        stream.write(random.Random(7).randbytes(_size(path) - header.data_offset))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """The cache that the environment of `hub` names."""
    return Cache(root=tmp_path / "hf" / "hub")


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(size)


def _size(path: Path) -> int:
    return path.stat().st_size
