"""Opening files: only regular ones, without waiting, and pinned to what was judged."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import ExitCode, HeaderError, IntegrityError, LauncherError, NotFound
from launcher.models.bundle import Bundle, Part, PinnedFile, Role, Stamp, pinned, read_header
from launcher.models.refs import CatalogueRef, PathRef
from tests import headers


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupts what takes longer: a test of waiting must not wait itself."""

    def interrupt(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """As an ordinary user, whoever runs the tests: permissions do not bind root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder that everybody may enter, with a name short enough for a socket."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def refused(path: Path, kind: type[LauncherError], words: str) -> LauncherError:
    with within(5), pytest.raises(kind, match=words) as caught, pinned(path):
        pass
    return caught.value


# --- What can be opened ---------------------------------------------------------------------


def test_a_regular_file_is_open_while_the_block_runs(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with pinned(path) as file:
        assert file.read(0, 4) == b"0123"
        assert file.read(8, 100) == b"89"
        assert file.read(10, 1) == file.read(0, 0) == b""
        assert file.stamp.size == 10
        file.refuse_change()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)


def test_the_file_is_closed_when_the_block_fails(tmp_path: Path) -> None:
    path = headers.write_model(tmp_path / "model.gguf")
    with pytest.raises(KeyError), pinned(path) as file:
        raise KeyError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)


def test_a_child_does_not_inherit_the_file(tmp_path: Path) -> None:
    with pinned(headers.write_model(tmp_path / "model.gguf")) as file:
        assert not os.get_inheritable(file.descriptor)


def test_a_link_to_a_model_is_the_model(tmp_path: Path) -> None:
    path = headers.write_model(tmp_path / "model.gguf")
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    with pinned(link) as file:
        assert read_header(file).architecture == "llama"
        assert file.path == link


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    error = refused(tmp_path / "none.gguf", NotFound, "There is no file .*none.gguf")
    assert error.exit_code is ExitCode.NOT_FOUND
    assert error.hint
    (tmp_path / "dangling").symlink_to(tmp_path / "none.gguf")
    refused(tmp_path / "dangling", NotFound, "There is no file")


def test_a_path_that_leads_nowhere_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "file" / "model.gguf", NotFound, "Not a directory")
    refused(tmp_path / "loop", NotFound, "cannot be opened")
    refused(tmp_path / ("x" * 300), NotFound, "name too long")


def test_a_file_that_may_not_be_read_is_not_found(short: Path) -> None:
    path = headers.write_model(short / "model.gguf")
    with without_privileges():
        with pinned(path) as file:  # it is the permission below that counts, not the folder
            assert read_header(file).complete
        assert os.geteuid() != 0
    path.chmod(0o000)
    with without_privileges():
        error = refused(path, NotFound, "may not be read by you")
    assert "permissions" in error.hint


def test_a_folder_is_not_a_model(tmp_path: Path) -> None:
    error = refused(tmp_path, IntegrityError, "is a folder, not a GGUF file")
    assert error.exit_code is ExitCode.INTEGRITY


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)
    refused(path, IntegrityError, "is a named pipe, not a GGUF file")


def test_a_named_pipe_with_a_writer_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    try:
        os.write(writer, b"GGUF")
        refused(path, IntegrityError, "is a named pipe, not a GGUF file")
    finally:
        os.close(writer)
        os.close(reader)


def test_a_socket_is_refused(short: Path) -> None:
    path = short / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        refused(path, IntegrityError, "not a (regular file, so not a )?GGUF file")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(device: str) -> None:
    refused(Path(device), IntegrityError, "is a device, not a GGUF file")


def test_refusals_leave_nothing_open(tmp_path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        refused(tmp_path, IntegrityError, "is a folder")
    assert len(list(Path("/dev/fd").iterdir())) == before


# --- Reading --------------------------------------------------------------------------------


def test_what_is_read_in_pieces_is_put_together() -> None:
    """Some file systems give a page at a time; this one of Linux does."""
    path = Path("/proc/self/smaps")
    with path.open("rb", buffering=0) as raw:
        assert len(raw.read(16384)) < 16384
    with pinned(path) as file:
        assert len(file.read(0, 16384)) == 16384


def test_a_disk_that_cannot_be_read_is_an_error_of_the_file() -> None:
    """The first page of a process's memory is never there: reading it fails as a bad disk does."""
    with (
        pinned(Path("/proc/self/mem")) as file,
        pytest.raises(IntegrityError, match="/proc/self/mem cannot be read: Input/output error"),
    ):
        file.read(0, 16)


def test_a_bad_header_names_the_file(tmp_path: Path) -> None:
    path = headers.write_model(tmp_path / "model.gguf", metadata={"llama.block_count": 0})
    with (
        pytest.raises(HeaderError, match=f"^{path} cannot be loaded: the model has 0") as caught,
        pinned(path) as file,
    ):
        read_header(file)
    assert "Get the file again" in caught.value.hint
    assert caught.value.exit_code is ExitCode.INTEGRITY


def test_a_rule_that_knows_better_gives_the_hint(tmp_path: Path) -> None:
    info = headers.tensor("a", (256,), 31)
    path = tmp_path / "model.gguf"
    data = headers.header([headers.entry("general.architecture", "llama")], [info])
    path.write_bytes(headers.padded(data) + bytes(144))
    with pytest.raises(HeaderError) as caught, pinned(path) as file:
        read_header(file)
    assert "another quantisation" in caught.value.hint


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"GGUF", b"PK\x03\x04" * 99, b"\x7fELF" * 99, b"text\n" * 99):
        (tmp_path / "a.gguf").write_bytes(content)
        with pytest.raises(HeaderError, match="not a GGUF file"), pinned(tmp_path / "a.gguf") as f:
            read_header(f)


def test_a_model_inside_another_file_is_refused(tmp_path: Path) -> None:
    """A llamafile or an archive holds one too; only one at the very start is read."""
    model = headers.write_model(tmp_path / "model.gguf").read_bytes()
    (tmp_path / "model.llamafile").write_bytes(b"MZqFpD" + bytes(58) + model)
    path = tmp_path / "model.llamafile"
    with pytest.raises(HeaderError, match="does not start with 'GGUF'"), pinned(path) as file:
        read_header(file)


# --- Changes --------------------------------------------------------------------------------


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")


def overwrite_and_hide(path: Path) -> None:
    status = path.stat()
    overwrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def grow(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("change", [overwrite, overwrite_and_hide, grow, shrink])
def test_a_file_that_is_written_to_is_noticed(change: object, tmp_path: Path) -> None:
    assert callable(change)
    path = headers.write_model(tmp_path / "model.gguf")
    os.utime(path, ns=(1, 1))
    with pinned(path) as file:
        file.refuse_change()
        change(path)
        with pytest.raises(IntegrityError, match="was changed while it was being loaded"):
            file.refuse_change()


def test_a_path_that_is_turned_elsewhere_changes_nothing(tmp_path: Path) -> None:
    """What was judged is what is read, whatever the name stands for by then."""
    good = headers.write_model(tmp_path / "good.gguf", architecture="qwen2")
    other = headers.write_model(tmp_path / "other.gguf", architecture="gemma2")
    link = tmp_path / "model.gguf"
    link.symlink_to(good)
    with pinned(link) as file:
        link.unlink()
        link.symlink_to(other)
        assert read_header(file).architecture == "qwen2"
        file.refuse_change()


def test_a_file_that_is_replaced_is_still_read_as_it_was(tmp_path: Path) -> None:
    path = headers.write_model(tmp_path / "model.gguf", architecture="qwen2")
    other = headers.write_model(tmp_path / "other.gguf", architecture="gemma2")
    with pinned(path) as file:
        other.replace(path)
        assert read_header(file).architecture == "qwen2"


# --- Bundles --------------------------------------------------------------------------------

FILE = PinnedFile(Path("a.gguf"), 3, Stamp(1, 2, 3, 4, 5))
PART = Part(role=Role.WEIGHTS, name="a.gguf", file=FILE)
BUNDLE = Bundle(ref=PathRef(Path("a.gguf")), parts=(PART,))


def with_part(**changes: object) -> Bundle:
    part = dataclasses.replace(PART, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(BUNDLE, parts=(part,))


def test_a_bundle_is_here_when_every_part_is() -> None:
    absent = Part(role=Role.SHARD, name="b.gguf")
    assert BUNDLE.is_here
    assert not dataclasses.replace(BUNDLE, parts=(PART, absent)).is_here
    assert not dataclasses.replace(BUNDLE, parts=()).is_here
    assert dataclasses.replace(BUNDLE, parts=(PART, PART, absent)).size == 6
    assert BUNDLE.main == PART


def test_a_fingerprint_tells_every_bundle_from_every_other() -> None:
    stamps = [
        dataclasses.replace(FILE.stamp, **{field.name: 9})
        for field in dataclasses.fields(FILE.stamp)
    ]
    bundles = [
        BUNDLE,
        dataclasses.replace(BUNDLE, ref=CatalogueRef("a.gguf")),
        dataclasses.replace(BUNDLE, model="a"),
        dataclasses.replace(BUNDLE, parts=()),
        dataclasses.replace(BUNDLE, parts=(PART, PART)),
        with_part(role=Role.DRAFT),
        with_part(name="b.gguf"),
        with_part(name="a.gguf "),
        with_part(name="a.gguf\nweights a.gguf"),
        with_part(sha256="0" * 64),
        with_part(file=None),
        *(with_part(file=dataclasses.replace(FILE, stamp=stamp)) for stamp in stamps),
    ]
    assert len({bundle.fingerprint for bundle in bundles}) == len(bundles) == 16
    opened_again = dataclasses.replace(FILE, descriptor=9)
    assert with_part(file=opened_again).fingerprint == BUNDLE.fingerprint


def test_a_name_that_is_no_unicode_has_a_fingerprint_too(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"M\xfcller.gguf")
    bundle = Bundle(ref=PathRef(path), parts=(Part(role=Role.WEIGHTS, name=path.name),))
    assert len(bundle.fingerprint) == 64
