"""The chain of records: what shows, and what a disk that is full leaves of it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import IntegrityError, LauncherError
from launcher.licensing import records
from launcher.licensing.records import Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Three records."""
    log = Log(tmp_path / "records.jsonl", 1 << 20)
    for number in range(3):
        records.append(log, "trial", {"count": number})
    return log


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes; what is too much is cut, as by a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def damaged(log: Log, old: bytes, new: bytes) -> None:
    data = log.path.read_bytes()
    assert data.count(old) == 1
    log.path.write_bytes(data.replace(old, new))


def test_every_record_names_the_one_before_it(log: Log) -> None:
    chain = records.verify(log)
    assert (chain.count, chain.torn) == (3, False)
    first, second, last = records.read(log)
    lines = log.path.read_bytes().splitlines()
    assert first["previous"] == ""
    assert second["previous"] == records.digest(lines[0])
    assert chain.head == records.digest(lines[2])
    assert last["count"] == last["number"] == 2


def test_a_change_in_the_last_record_shows_too(log: Log) -> None:
    damaged(log, b'"count":2', b'"count":7')
    with pytest.raises(IntegrityError, match="line 3: this record is not as it was written"):
        records.verify(log)


def test_a_record_that_was_lost_or_put_in_shows(log: Log) -> None:
    first, second, last = log.path.read_bytes().splitlines(keepends=True)
    for changed in (first + last, first + second + second + last, second + last):
        log.path.write_bytes(changed)
        with pytest.raises(IntegrityError, match="does not follow the one before it"):
            records.verify(log)


def test_another_end_of_a_line_shows(log: Log) -> None:
    data = log.path.read_bytes()
    log.path.write_bytes(data[:-1] + b"\r")
    with pytest.raises(IntegrityError, match="line 3: this record has no end"):
        records.verify(log)


def test_what_a_power_failure_cut_is_set_aside_by_the_next_record(log: Log) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-9])
    with pytest.raises(IntegrityError, match="line 3: this record has no end") as caught:
        records.verify(log)
    assert "power failure" in caught.value.hint
    records.append(log, "trial", {"count": 3})
    assert [record["count"] for record in records.read(log)] == [0, 1, 3]
    assert records.verify(log).torn
    aside = log.path.with_suffix(".torn").read_bytes()
    assert aside == whole.splitlines()[2][:-8] + b"\n"


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_leaves_the_records_as_they_were(log: Log, room: int) -> None:
    whole = log.path.read_bytes()
    with room_for(len(whole) + room), pytest.raises(LauncherError, match="too large") as caught:
        records.append(log, "trial", {"count": 3})
    assert caught.value.exit_code == 1
    assert log.path.read_bytes() == whole
    records.append(log, "trial", {"count": 3})
    chain = records.verify(log)
    assert (chain.count, chain.torn) == (4, False)


def test_the_chain_goes_on_in_a_new_file(tmp_path: Path) -> None:
    log = Log(tmp_path / "records.jsonl", 1000)
    for number in range(9):
        records.append(log, "trial", {"count": number})
    assert len(records.older(log)) > 1
    assert records.verify(log).count == 9
    records.older(log)[0].unlink()
    with pytest.raises(IntegrityError, match="does not follow"):
        records.verify(log)
