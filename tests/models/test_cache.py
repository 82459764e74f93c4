"""The cache that other programs share: the hub's own library reads what we wrote, and we its."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.utils._fixes import WeakFileLock

from launcher.errors import LauncherError, NotFound
from launcher.models.cache import Cache, Kind, Leftover, last_uses, note_use
from launcher.models.hub import Hub
from launcher.models.remote import RemoteFile
from launcher.models.transfer import download
from tests import headers
from tests.campaigns.disks import read_only, unprivileged
from tests.hub_server import HubServer

NAME = "maker/Llama-3.2-1B-Instruct-GGUF"
FILE = "Llama-3.2-1B-Instruct-Q4_K_M.gguf"
OLD = 7200.0  # seconds


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return headers.write_model(tmp_path / "small.gguf")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return headers.write_model(tmp_path / "other.gguf", layers=3)


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def either(request: pytest.FixtureRequest, cache: Cache) -> Cache:
    """The cache on a disk that has links, and on one that has none."""
    return dataclasses.replace(cache, links=request.param)


def listed(hub: HubServer, revision: str = "") -> tuple[RemoteFile, ...]:
    return Hub(endpoint=hub.url).repository(NAME, revision).files


def pull(hub: HubServer, cache: Cache, revision: str = "") -> tuple[Path, ...]:
    """As this program does."""
    return download(listed(hub, revision), Hub(endpoint=hub.url), cache, revision=revision)


def theirs(hub: HubServer, cache: Cache, name: str = FILE, **how: Any) -> Path:
    """As the hub's own library does."""
    path = huggingface_hub.hf_hub_download(
        NAME, name, cache_dir=cache.root, endpoint=hub.url, **how
    )
    assert isinstance(path, str)
    return Path(path)


def rest(cache: Cache) -> list[str]:
    """What is left in a cache, locks and the tag aside."""
    below = cache.root.glob("models--*/**/*")
    return sorted(path.name for path in below if path.is_symlink() or path.is_file())


# --- Shared with the hub's own library ----------------------------------------------------------


def test_the_hubs_library_finds_what_we_wrote_without_a_download(
    hub: HubServer, either: Cache, small: Path
) -> None:
    commit = hub.add(NAME, {FILE: small, "sub/other.gguf": small})
    ours = pull(hub, either)
    hub.log.clear()
    for name, path in zip((FILE, "sub/other.gguf"), ours, strict=True):
        found = huggingface_hub.try_to_load_from_cache(NAME, name, cache_dir=either.root)
        assert found == str(path)
        assert theirs(hub, either, name, local_files_only=True) == path
        assert theirs(hub, either, name, revision=commit, local_files_only=True) == path
    assert hub.log == []
    assert theirs(hub, either) == ours[0]
    assert hub.asked("store") == []


def test_the_hubs_library_lists_what_we_wrote(hub: HubServer, cache: Cache, small: Path) -> None:
    commit = hub.add(NAME, {FILE: small})
    pull(hub, cache)
    info = huggingface_hub.scan_cache_dir(cache.root)
    (repository,) = info.repos
    (revision,) = repository.revisions
    (file,) = revision.files
    assert info.warnings == []
    assert (repository.repo_id, repository.size_on_disk) == (NAME, small.stat().st_size)
    assert (revision.commit_hash, set(revision.refs)) == (commit, {"main"})
    assert (file.file_name, file.blob_path.name) == (FILE, listed(hub)[0].sha256)


def test_the_hubs_library_removes_what_we_wrote(hub: HubServer, cache: Cache, small: Path) -> None:
    commit = hub.add(NAME, {FILE: small})
    pull(hub, cache)
    huggingface_hub.scan_cache_dir(cache.root).delete_revisions(commit).execute()
    assert (rest(cache), list(cache.files()), cache.commit(NAME)) == ([], [], "")


def test_we_find_what_the_hubs_library_wrote_without_a_question(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    commit = hub.add(NAME, {FILE: small})
    path = theirs(hub, cache)
    (file,) = listed(hub)
    hub.log.clear()
    assert cache.commit(NAME) == cache.commit(NAME, "main") == cache.commit(NAME, commit) == commit
    assert cache.find(NAME, "", FILE) == cache.pointer(file) == path
    (found,) = cache.files(NAME)
    assert (found.path, found.called, found.size) == (path, file.sha256, file.size)
    assert download([file], Hub(endpoint=hub.url, offline=True), cache) == (path,)
    assert hub.log == []


def test_a_download_that_the_hubs_library_is_at_is_waited_for(
    hub: HubServer, cache: Cache, weights: Path
) -> None:
    hub.add(NAME, {FILE: weights})
    (file,) = listed(hub)
    hub.pace = 20e6
    code = f"import huggingface_hub; huggingface_hub.hf_hub_download({NAME!r}, {FILE!r})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        while not hub.asked("store"):
            assert process.poll() is None
            time.sleep(0.01)
        (path,) = pull(hub, cache)
    assert process.returncode == 0
    assert path.read_bytes() == weights.read_bytes()
    assert hub.sent("store") < file.size + 1000


def test_turns_are_taken_with_the_hubs_library(hub: HubServer, cache: Cache, small: Path) -> None:
    hub.add(NAME, {FILE: small})
    (file,) = listed(hub)
    lock = cache.root / ".locks" / cache.folder(NAME).name / f"{file.etag}.lock"
    lock.parent.mkdir(parents=True)
    with contextlib.closing(cache.turn(file)) as turn:
        with WeakFileLock(lock):
            assert not turn.take()
        assert turn.take()
        assert cache.turn(file).holder() == f"process {os.getpid()}"
        assert not cache.turn(file).take()
        with pytest.raises(TimeoutError), WeakFileLock(lock, timeout=0.1):
            raise AssertionError
    with WeakFileLock(lock, timeout=0.1):
        assert cache.turn(file).holder() == ""


ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HF_HOME": "/a/b"},
    {"HF_HUB_CACHE": "~/models", "HF_HOME": "/a"},
    {"HUGGINGFACE_HUB_CACHE": "/c/$USER_OF_TEST/d"},
    {"XDG_CACHE_HOME": "/x"},
    {"HF_HOME": "~/$USER_OF_TEST"},
]


@pytest.mark.parametrize("variables", ENVIRONMENTS, ids=lambda variables: " ".join(variables))
def test_the_cache_is_where_the_hubs_library_has_it(variables: dict[str, str]) -> None:
    code = "from huggingface_hub import constants; from launcher.models.cache import Cache\n"
    code += "print(constants.HF_HUB_CACHE); print(Cache.from_environment().root)"
    unset = ("HF_", "HUGGINGFACE_", "XDG_")
    known = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**known, "USER_OF_TEST": "me", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    there, here = done.stdout.splitlines()
    assert there == here


def test_a_variable_that_is_empty_is_not_set() -> None:
    empty = dict.fromkeys(("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"), "")
    assert Cache.from_environment(empty) == Cache.from_environment({})


def test_links_are_left_out_where_the_user_wants_none() -> None:
    assert Cache.from_environment({}).links
    assert not Cache.from_environment({"HF_HUB_DISABLE_SYMLINKS": "1"}).links


# --- What is here -------------------------------------------------------------------------------


def test_revisions_lead_to_the_commit_they_were_fetched_as(
    hub: HubServer, cache: Cache, small: Path, other: Path
) -> None:
    first = hub.add(NAME, {FILE: small}, revision="refs/pr/1")
    pull(hub, cache, "refs/pr/1")
    second = hub.add(NAME, {FILE: other})
    pull(hub, cache, second)
    assert cache.commit(NAME, "refs/pr/1") == first
    assert cache.commit(NAME) == ""
    assert cache.commit(NAME, second) == second
    pull(hub, cache)
    assert cache.commit(NAME) == second
    path = cache.find(NAME, "refs/pr/1", FILE)
    assert path is not None
    assert path.read_bytes() == small.read_bytes()


@pytest.mark.parametrize("revision", ["../../x", "/etc/passwd", "v9", "a\0b", "ab" * 20, "x.lock"])
def test_a_revision_that_was_never_fetched_leads_nowhere(
    hub: HubServer, cache: Cache, small: Path, revision: str
) -> None:
    hub.add(NAME, {FILE: small})
    pull(hub, cache)
    assert cache.commit(NAME, revision) == ""
    assert cache.find(NAME, revision, FILE) is None


@pytest.mark.parametrize("name", ["../../refs/main", "", ".", "/etc/passwd", "sub"])
def test_a_name_that_leads_elsewhere_is_not_found(
    hub: HubServer, cache: Cache, small: Path, name: str
) -> None:
    hub.add(NAME, {FILE: small, "sub/x.gguf": small})
    pull(hub, cache)
    assert cache.find(NAME, "", name) is None


@pytest.mark.parametrize("name", ["../../etc", "a/b/c", "", "a/..", "a\0/b"])
def test_what_names_no_repository_has_no_folder(cache: Cache, name: str) -> None:
    with pytest.raises(NotFound):
        cache.folder(name)


def a_folder(ref: Path) -> None:
    ref.unlink()
    ref.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "rubbish": lambda ref: ref.write_bytes(b"\xff" * 10),
    "endless": lambda ref: ref.write_bytes(b"a" * 10_000),
    "leads away": lambda ref: ref.write_text("../../../etc"),
    "empty": lambda ref: ref.write_text(""),
    "a folder": a_folder,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_ref_is_no_ref(hub: HubServer, cache: Cache, small: Path, damage: str) -> None:
    hub.add(NAME, {FILE: small})
    pull(hub, cache)
    DAMAGE[damage](cache.folder(NAME) / "refs" / "main")
    assert cache.commit(NAME) == ""
    assert cache.find(NAME, "", FILE) is None
    assert len(list(cache.files())) == 1


def test_strange_things_in_the_cache_are_stepped_over(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small})
    (path,) = pull(hub, cache)
    path.with_name("dangling.gguf").symlink_to("nowhere")
    path.with_name("round.gguf").symlink_to("round.gguf")
    path.with_name("README.md").write_text("no model")
    (cache.root / "datasets--a--b" / "snapshots").mkdir(parents=True)
    (cache.root / "models--..--x").mkdir()
    (cache.root / "models--a--b").write_text("a file where a folder belongs")
    assert [file.path for file in cache.files()] == [path]
    assert list(cache.leftovers()) == []


def test_a_cache_that_is_not_there_is_empty(cache: Cache) -> None:
    assert (list(cache.files()), list(cache.leftovers()), cache.commit(NAME)) == ([], [], "")
    assert not cache.root.exists()


def test_the_last_use_is_ours_or_what_the_disk_says(
    hub: HubServer, cache: Cache, small: Path, tmp_path: Path
) -> None:
    hub.add(NAME, {FILE: small})
    pull(hub, cache)
    (file,) = cache.files()
    os.utime(file.blob, (1000.0, 2000.0))
    assert next(cache.files()).last_used == 2000.0
    memory = tmp_path / "uses"
    note_use(memory, file.blob, 3000.0)
    assert next(cache.files(uses=last_uses(memory))).last_used == 3000.0


def test_the_memory_of_last_uses_may_be_missing_or_broken(tmp_path: Path) -> None:
    memory = tmp_path / "uses"
    assert last_uses(memory) == {}
    note_use(memory, Path("/a"), 1.0)
    note_use(memory, Path("/b"), 2.0)
    note_use(memory, Path("/a"), 3.0)
    assert last_uses(memory) == {"/a": 3.0, "/b": 2.0}
    memory.write_bytes(b"[" * 100_000)
    assert last_uses(memory) == {}
    note_use(memory, Path("/a"), 4.0)
    assert last_uses(memory) == {"/a": 4.0}


# --- What goes ----------------------------------------------------------------------------------


def test_what_is_removed_is_gone_and_its_bytes_are_counted(
    hub: HubServer, either: Cache, small: Path, other: Path
) -> None:
    hub.add(NAME, {FILE: small, "sub/other.gguf": other})
    pull(hub, either)
    one, two = sorted(either.files(), key=lambda file: file.name)
    assert either.remove([one]) == small.stat().st_size
    assert [file.name for file in either.files()] == ["sub/other.gguf"]
    assert either.commit(NAME) == one.commit
    assert either.remove([two]) == other.stat().st_size
    assert not either.folder(NAME).exists()


def test_what_another_commit_needs_stays(hub: HubServer, cache: Cache, small: Path) -> None:
    hub.add(NAME, {FILE: small})
    pull(hub, cache)
    hub.add(NAME, {FILE: small, "README.md": small})
    pull(hub, cache)
    one, two = cache.files()
    assert one.blob == two.blob
    assert cache.remove([one]) == 0
    assert two.path.read_bytes() == small.read_bytes()
    assert cache.remove([two]) == 0  # the README is the same blob
    assert list(cache.files()) == []


def test_a_file_outside_of_the_cache_to_which_a_person_made_a_link_stays(
    hub: HubServer, cache: Cache, small: Path, other: Path
) -> None:
    hub.add(NAME, {FILE: small})
    (path,) = pull(hub, cache)
    mine = path.with_name("mine.gguf")
    mine.symlink_to(other)
    (file,) = (file for file in cache.files() if file.path == mine)
    assert cache.remove([file]) == 0
    assert other.exists()
    assert not mine.is_symlink()


def test_what_is_just_being_downloaded_is_not_removed(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small})
    pull(hub, cache)
    (file,) = cache.files()
    (remote,) = listed(hub)
    with contextlib.closing(cache.turn(remote)) as turn:
        assert turn.take()
        with pytest.raises(LauncherError, match="is just being downloaded"):
            cache.remove([file])
    assert file.path.exists()
    assert cache.remove([file]) == file.size


def left_over(cache: Cache) -> dict[str, Leftover]:
    """Leftovers of every kind, by the last part of their names."""
    folder = cache.folder(NAME)
    made = {
        folder / "blobs" / f"{'ab' * 32}.launcher.incomplete": 100,
        folder / "blobs" / f"{'cd' * 32}.1a2b3c4d.incomplete": 200,
        folder / "blobs" / ("ef" * 32): 300,
        folder / "blobs" / "tmp_x": 400,
        folder / "refs" / ".0123456789ab.tmp": 40,
        folder / "blobs" / "unknown": 5,
    }
    for path, length in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(length))
        os.utime(path, (time.time() - OLD, time.time() - OLD))
    return {leftover.path.name[-16:]: leftover for leftover in cache.leftovers()}


def test_leftovers_of_every_kind_are_found_and_removed(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small, "config.tmp": small})
    pull(hub, cache)
    found = left_over(cache)
    assert sorted((leftover.kind, leftover.size) for leftover in found.values()) == [
        (Kind.PARTIAL, 100),
        (Kind.PARTIAL, 200),
        (Kind.TEMPORARY, 40),
        (Kind.TEMPORARY, 400),
        (Kind.UNREFERENCED, 300),
    ]
    assert {leftover.repository for leftover in found.values()} == {NAME}
    assert cache.remove_leftovers(found.values()) == 1040
    assert rest(cache) == sorted([FILE, "config.tmp", "main", "unknown", listed(hub)[0].sha256])


def test_what_is_young_or_being_written_is_no_leftover_yet(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small})
    (file,) = listed(hub)
    partial = cache.partial(file)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(10))
    young = partial.with_name("tmp_young")
    young.write_bytes(bytes(10))
    leftovers = list(cache.leftovers())
    assert {leftover.path for leftover in leftovers} == {partial, young}
    with contextlib.closing(cache.turn(file)) as turn:
        assert turn.take()
        assert cache.remove_leftovers(leftovers) == 0
    assert cache.remove_leftovers(leftovers) == 10
    assert (partial.exists(), young.exists()) == (False, True)


def test_a_leftover_that_became_a_model_meanwhile_stays(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small})
    (file,) = listed(hub)
    cache.blob(file).parent.mkdir(parents=True)
    cache.blob(file).write_bytes(small.read_bytes())
    leftovers = list(cache.leftovers())
    assert [leftover.kind for leftover in leftovers] == [Kind.UNREFERENCED]
    pull(hub, cache)
    assert hub.asked("store") == []
    assert cache.remove_leftovers(leftovers) == 0
    assert len(list(cache.files())) == 1


def in_shared_store(cache: Cache, blobs: list[Path], data: bytes) -> Path:
    """Puts a blob into the store that repositories share, as the hub's library lays it out."""
    entry = cache.root / "blobs" / "9f" / ("9f" * 32)
    entry.parent.mkdir(parents=True)
    entry.write_bytes(data)
    lines = [str(blob.relative_to(cache.root)) for blob in blobs]
    entry.with_name(f"{entry.name}.refs").write_text("\n".join(lines) + "\n")
    for blob in blobs:
        blob.unlink(missing_ok=True)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.symlink_to(os.path.relpath(entry, blob.parent))
    return entry


def test_the_store_that_repositories_share_keeps_what_another_one_needs(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small})
    pull(hub, cache)
    (file,) = cache.files()
    elsewhere = cache.folder("other/repo") / "blobs" / file.blob.name
    entry = in_shared_store(cache, [file.blob, elsewhere], small.read_bytes())
    (file,) = cache.files()
    assert (file.called, file.size) == (file.blob.name, small.stat().st_size)
    assert cache.remove([file]) == 0
    assert entry.exists()
    (leftover,) = cache.leftovers()
    assert leftover.kind is Kind.UNREFERENCED
    assert cache.remove_leftovers([leftover]) == small.stat().st_size
    assert not entry.exists()


def test_an_entry_of_the_shared_store_without_a_list_is_never_removed(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small})
    pull(hub, cache)
    (file,) = cache.files()
    entry = in_shared_store(cache, [file.blob], small.read_bytes())
    entry.with_name(f"{entry.name}.refs").unlink()
    assert cache.remove([file]) == 0
    assert entry.exists()


READ_AND_REMOVE = """
from launcher.errors import LauncherError
from launcher.models.cache import Cache
from launcher.models.hub import Hub
from launcher.models.remote import RemoteFile
from launcher.models.transfer import download
cache = Cache.from_environment()
(file,) = cache.files()
remote = RemoteFile(repository=file.repository, commit=file.commit, name=file.name,
                    size=file.size, sha256=file.called)
print(download([remote], Hub(offline=True), cache)[0])
try:
    cache.remove([file])
except LauncherError as error:
    print(error.message)
"""


def test_a_cache_that_may_not_be_written_to_is_read_and_said(
    hub: HubServer, cache: Cache, small: Path
) -> None:
    hub.add(NAME, {FILE: small})
    (path,) = pull(hub, cache)
    with read_only(cache.root):
        done = subprocess.run(
            [sys.executable, "-c", READ_AND_REMOVE],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=unprivileged,
        )
    found, sentence = done.stdout.splitlines()
    assert found == str(path)
    assert sentence.startswith("You may not write to ")
    assert path.is_file()
