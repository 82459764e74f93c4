"""Files come whole or not at all, over a line that is real, from a hub that counts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import ExitCode, IntegrityError, LauncherError, NotFound
from launcher.models import digests
from launcher.models.bundle import pinned
from launcher.models.cache import Cache
from launcher.models.hub import Hub
from launcher.models.partial import Partial
from launcher.models.remote import RemoteFile
from launcher.models.transfer import Options, Patience, Silent, download, resumable
from tests.hub_server import Fault, HubServer, Stored, serving
from tests.models import puller
from tests.tunnel import tunnel

NAME = "maker/Llama-3.2-1B-Instruct-GGUF"
FILE = "Llama-3.2-1B-Instruct-Q4_K_M.gguf"
CHUNK = 1 << 20
HURRIED = Patience(total=10.0, first=0.01, longest=0.05, stall=0.3)
CERTIFICATE = Path(__file__).with_name("untrusted.pem")


class Told(Silent):
    """Progress that is written down."""

    def __init__(self) -> None:
        self.total = self.here = 0
        self.reasons: list[str] = []
        self.is_finished = False

    def started(self, total: int, done: int) -> None:
        self.total, self.here = total, done

    def advanced(self, size: int) -> None:
        self.here += size
        assert 0 <= self.here <= self.total

    def waiting(self, reason: str, seconds: float) -> None:
        self.reasons.append(reason)

    def finished(self) -> None:
        self.is_finished = True


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """3 MB in which no byte can stand for another."""
    path = tmp_path / "noise.gguf"
    path.write_bytes(random.Random(3).randbytes(3_000_000))
    return path


def files_of(hub: HubServer) -> Sequence[RemoteFile]:
    return Hub(endpoint=hub.url, token=False).repository(NAME).files


def pull(
    hub: HubServer,
    cache: Cache,
    files: Sequence[RemoteFile] | None = None,
    *,
    token: str | bool = False,
    memory: Path | None = None,
    progress: Silent | None = None,
    patience: Patience = HURRIED,
    offline: bool = False,
    **options: float,
) -> list[bytes]:
    """The bytes of what was pulled."""
    client = Hub(endpoint=hub.url, token=token, timeout=1.0, pause=0.01, offline=offline)
    chosen = Options(patience=patience, **{"chunk": CHUNK, **options})  # type: ignore[arg-type]
    paths = download(
        files_of(hub) if files is None else files,
        client,
        cache,
        options=chosen,
        progress=progress,
        memory=memory,
    )
    return [path.read_bytes() for path in paths]


def failure(act: Callable[[], object]) -> LauncherError:
    with pytest.raises(LauncherError) as raised:
        act()
    return raised.value


def left(cache: Cache) -> list[Path]:
    """What takes room in a cache."""
    return sorted(path for path in cache.root.rglob("blobs/*") if path.stat().st_size)


# --- All goes well ------------------------------------------------------------------------------


def test_a_file_comes_whole_with_one_question_and_is_remembered(
    hub: HubServer, cache: Cache, noise: Path, tmp_path: Path
) -> None:
    commit = hub.add(NAME, {f"sub/{FILE}": noise})
    (file,) = files_of(hub)
    told, memory = Told(), tmp_path / "digests"
    assert pull(hub, cache, [file], memory=memory, progress=told) == [noise.read_bytes()]
    assert [answer.at for answer in hub.log] == ["metadata", "file", "store"]
    assert hub.sent("store") < file.size + 1000
    assert (told.here, told.total, told.is_finished) == (file.size, file.size, True)
    assert cache.find(NAME, "main", file.name) == cache.pointer(file)
    assert cache.commit(NAME) == commit
    assert cache.pointer(file).resolve() == cache.blob(file)
    assert left(cache) == [cache.blob(file)]
    with pinned(cache.pointer(file)) as here:
        assert digests.remembered(memory, here) == file.sha256


def test_what_is_here_is_not_asked_for(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    files = files_of(hub)
    pull(hub, cache, files)
    hub.log.clear()
    told = Told()
    assert pull(hub, cache, files, progress=told, offline=True) == [noise.read_bytes()]
    assert (hub.log, told.here) == ([], files[0].size)


def test_what_is_here_is_compared_once(
    hub: HubServer, cache: Cache, noise: Path, tmp_path: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    files, memory = files_of(hub), tmp_path / "digests"
    pull(hub, cache, files)
    first, second = Told(), Told()
    pull(hub, cache, files, memory=memory, progress=first)
    pull(hub, cache, files, memory=memory, progress=second)
    assert (first.reasons, second.reasons) == ([f"comparing the digest of {FILE}"], [])


def test_a_file_of_a_new_commit_with_the_same_bytes_is_only_linked(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    pull(hub, cache)
    new = hub.add(NAME, {"renamed.gguf": noise})
    hub.log.clear()
    assert pull(hub, cache) == [noise.read_bytes()]
    assert (hub.asked("store"), cache.commit(NAME)) == ([], new)


def test_a_file_that_lies_in_git_and_an_empty_one_are_pulled_too(
    hub: HubServer, cache: Cache, noise: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    hub.add(NAME, {FILE: Stored(path=noise, large=False), "empty.gguf": empty})
    assert pull(hub, cache) == [noise.read_bytes(), b""]
    assert hub.asked("store") == []


def test_one_file_under_two_names_is_pulled_once(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise, "again.gguf": noise})
    assert pull(hub, cache) == [noise.read_bytes()] * 2
    assert hub.sent("store") < noise.stat().st_size + 1000


def test_where_links_cannot_be_the_file_lies_under_its_name(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    cache = dataclasses.replace(cache, links=False)
    (file,) = files_of(hub)
    assert pull(hub, cache, [file]) == [noise.read_bytes()]
    assert not cache.pointer(file).is_symlink()
    assert left(cache) == []
    hub.log.clear()
    assert pull(hub, cache, [file], offline=True) == [noise.read_bytes()]


# --- Killed, and cut off from power -------------------------------------------------------------


def test_a_download_killed_at_20_points_completes_and_fetches_one_chunk_again_at_most(
    hub: HubServer, cache: Cache, weights: Path
) -> None:
    hub.add(NAME, {FILE: weights})
    (file,) = files_of(hub)
    hub.pace = 40e6
    chance, ends = random.Random(11), list[int]()
    for point in sorted(chance.randrange(file.size) for _ in range(20)):
        process = puller.start(NAME, chunk=CHUNK)
        asked = len(hub.asked("store"))
        while process.poll() is None and (
            len(hub.asked("store")) == asked or size(cache.partial(file)) < point
        ):
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9
        process.communicate()
        ends.append(size(cache.partial(file)))
    hub.pace = 0.0
    assert puller.said(puller.start(NAME, chunk=CHUNK)) == [str(cache.pointer(file))]
    assert cache.pointer(file).read_bytes() == weights.read_bytes()
    starts = [answer.start for answer in hub.asked("store")]
    assert len(starts) == 21
    assert all(end - start <= CHUNK for end, start in zip(ends, starts[1:], strict=True))
    on_the_line = 256 << 10  # bytes of each answer that were sent but had not arrived
    assert hub.sent("store") <= file.size + 20 * (CHUNK + on_the_line)
    assert left(cache) == [cache.blob(file)]


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@given(st.integers(0, 1 << 45), st.integers(1, 1 << 25).map(lambda half: 2 * half))
def test_what_is_certain_lies_less_than_a_chunk_back(written: int, chunk: int) -> None:
    certain = resumable(written, chunk)
    assert 0 <= written - certain <= chunk or certain == 0
    assert certain <= written
    assert certain % (chunk // 2) == 0


def test_what_counts_as_certain_was_waited_for(
    hub: HubServer, cache: Cache, noise: Path, tmp_path: Path
) -> None:
    """However slow the disk is, and whatever sizes the pieces have."""
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    chance, chunk, path = random.Random(6), 128 << 10, tmp_path / "partial"
    on_disk = 0

    def sync(descriptor: int) -> None:
        nonlocal on_disk
        size = os.fstat(descriptor).st_size
        time.sleep(chance.random() / 100)
        os.fsync(descriptor)
        on_disk = size

    rest = noise.read_bytes()
    with contextlib.closing(Partial(path, file, chunk, sync)) as partial:
        while rest:
            size = chance.choice([1, 5_000, 64 << 10, 65_535, 300_000])
            partial.write(rest[:size])
            rest = rest[size:]
            assert resumable(path.stat().st_size, chunk) <= on_disk
        partial.finish(tmp_path / "whole")
    assert on_disk == file.size


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.77, 0.999, 1.0])
def test_what_a_power_cut_leaves_is_completed(
    hub: HubServer, cache: Cache, noise: Path, share: float
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    written, chunk = int(share * file.size), 128 << 10
    certain = resumable(written, chunk)
    partial = cache.partial(file)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(noise.read_bytes()[:certain] + bytes(written - certain))
    assert pull(hub, cache, [file], chunk=chunk) == [noise.read_bytes()]
    (asked,) = hub.asked("store")
    assert written - asked.start <= chunk


def test_a_partial_file_that_is_too_long_or_not_ours_is_begun_anew(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    cache.partial(file).parent.mkdir(parents=True)
    cache.partial(file).write_bytes(bytes(file.size + 1))
    assert pull(hub, cache, [file]) == [noise.read_bytes()]


def test_a_partial_file_with_wrong_bytes_is_deleted_and_said(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    cache.partial(file).parent.mkdir(parents=True)
    cache.partial(file).write_bytes(bytes(2 * CHUNK))
    error = failure(lambda: pull(hub, cache, [file]))
    assert (error.exit_code, left(cache)) == (ExitCode.INTEGRITY, [])
    assert pull(hub, cache, [file]) == [noise.read_bytes()]


# --- A line and a hub with troubles that pass ---------------------------------------------------

PASSING = {
    "cut short": [Fault(at="store", after=1_000_000), Fault(at="store", after=500_000)],
    "stalled": [Fault(at="store", after=1_000_000, silent=5.0)],
    "limited": [Fault(at="file", status=429, headers={"Retry-After": "0"}, times=3)],
    "in trouble": [Fault(at="file", status=500), Fault(at="store", status=503, times=2)],
    "link ran out": [Fault(at="store", after=1_000_000), Fault(at="store", status=403)],
    "link runs out all the time": 4
    * [Fault(at="store", after=500_000), Fault(at="store", status=403)],
    "wrong range": [Fault(at="store", headers={"Content-Range": "bytes 7-9/3000000"})],
    "nothing said": [Fault(at="file", wait=1.0)],
}


@pytest.mark.parametrize("trouble", PASSING)
def test_troubles_that_pass_are_waited_for_and_nothing_is_fetched_twice(
    hub: HubServer, cache: Cache, noise: Path, trouble: str
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    hub.faults = [dataclasses.replace(fault) for fault in PASSING[trouble]]
    told = Told()
    assert pull(hub, cache, [file], progress=told) == [noise.read_bytes()]
    assert hub.faults == []
    assert told.reasons
    assert told.here == file.size
    good = [answer for answer in hub.asked("store") if answer.status == 206]
    fetched = sum(answer.sent for answer in good if trouble != "wrong range" or answer is good[-1])
    assert fetched <= file.size + 1000 * len(good)


def test_a_hub_that_asks_for_time_gets_it(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    hub.faults = [Fault(at="file", status=429, headers={"Retry-After": "1"})]
    began = time.monotonic()
    assert pull(hub, cache, [file]) == [noise.read_bytes()]
    assert time.monotonic() - began >= 1.0


def test_a_server_that_only_gives_whole_files_is_read_from_the_start(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    hub.faults = [Fault(at="store", after=1_000_000), Fault(at="store", no_ranges=True, times=-1)]
    told = Told()
    assert pull(hub, cache, [file], progress=told) == [noise.read_bytes()]
    assert told.here == file.size


def test_a_store_that_refuses_is_not_asked_for_long(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    hub.faults = [Fault(at="store", status=403, times=-1)]
    assert "The store to which the hub sent us" in failure(lambda: pull(hub, cache)).message
    assert len(hub.asked("store")) == len(hub.asked("file")) == 3


def test_no_more_is_written_than_was_asked_for(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    hub.faults = [Fault(at="store", more=1_000_000)]
    told = Told()
    assert pull(hub, cache, progress=told) == [noise.read_bytes()]
    assert told.here == told.total


def test_patience_ends(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    hub.faults = [Fault(at="store", after=1_500_000), Fault(at="store", status=500, times=-1)]
    short = dataclasses.replace(HURRIED, total=0.3)
    error = failure(lambda: pull(hub, cache, [file], patience=short))
    assert "in trouble (HTTP 500)" in error.message
    hub.faults.clear()
    hub.log.clear()
    assert pull(hub, cache, [file]) == [noise.read_bytes()]
    assert hub.asked("store")[0].start == resumable(1_500_000, CHUNK)


@given(st.integers(1, 10_000), st.floats(0, 3600), st.floats(0, 1))
def test_pauses_grow_to_a_limit_and_are_never_shorter_than_asked_for(
    failures: int, asked: float, chance: float
) -> None:
    pause = Patience().pause(failures, asked, chance)
    assert asked <= pause <= max(asked, 300.0)


# --- Bytes that are not what was published ------------------------------------------------------


def test_a_flipped_bit_is_found_deleted_and_said(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    hub.faults = [Fault(at="store", flip=2_345_678)]
    error = failure(lambda: pull(hub, cache, [file]))
    assert isinstance(error, IntegrityError)
    assert "is not what the hub published" in error.message
    assert (left(cache), cache.find(NAME, "main", FILE)) == ([], None)
    assert pull(hub, cache, [file]) == [noise.read_bytes()]


def test_a_flipped_bit_in_the_cache_is_found_whoever_brought_the_file(
    hub: HubServer, cache: Cache, noise: Path, tmp_path: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    memory = tmp_path / "digests"
    pull(hub, cache, [file], memory=memory)
    with cache.blob(file).open("r+b") as stream:
        stream.seek(1_000_000)
        stream.write(bytes(8))
    error = failure(lambda: pull(hub, cache, [file], memory=memory))
    assert error.exit_code is ExitCode.INTEGRITY
    assert (left(cache), list(cache.files())) == ([], [])
    assert pull(hub, cache, [file], memory=memory) == [noise.read_bytes()]


LIES = {
    "another digest": Fault(at="file", headers={"X-Linked-Etag": f'"{"0" * 64}"'}, location="/x"),
    "another size": Fault(at="file", headers={"X-Linked-Size": "12"}, location="/x"),
    "another length": Fault(at="store", headers={"Content-Range": "bytes 0-9/10"}),
    "a page that wants a login": Fault(at="file", status=200, body=b"<html>Log in</html>"),
    "shorter than announced": Fault(at="file", status=416),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hub_that_contradicts_itself_is_not_believed(
    hub: HubServer, cache: Cache, noise: Path, lie: str
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    hub.faults = [dataclasses.replace(LIES[lie])]
    error = failure(lambda: pull(hub, cache, [file]))
    assert (error.exit_code, left(cache)) == (ExitCode.INTEGRITY, [])
    assert "is not the file that was judged" in error.message


def test_the_hub_may_list_a_digest_that_its_own_bytes_do_not_have(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: Stored(path=noise, sha256="ab" * 32)})
    assert failure(lambda: pull(hub, cache)).exit_code is ExitCode.INTEGRITY
    assert left(cache) == []


def test_a_file_without_a_digest_is_not_pulled(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    file = dataclasses.replace(files_of(hub)[0], sha256="")
    hub.log.clear()
    assert "states no digest" in failure(lambda: pull(hub, cache, [file])).message
    assert hub.log == []


@pytest.mark.parametrize(
    "name", ["../../../evil.gguf", "/evil.gguf", "a/../../evil.gguf", "..", ""]
)
def test_a_name_that_leads_elsewhere_is_left_alone(
    hub: HubServer, cache: Cache, noise: Path, name: str
) -> None:
    hub.add(NAME, {name: noise, FILE: noise})
    files = files_of(hub)
    assert [file.name for file in files] == [FILE]
    evil = dataclasses.replace(files[0], name=name)
    assert failure(lambda: pull(hub, cache, [evil])).exit_code is ExitCode.INTEGRITY
    assert not cache.root.exists()


def test_redirects_in_a_circle_end(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    loop = f"/{NAME}/resolve/{file.commit}/{FILE}"
    hub.faults = [Fault(at="file", location=loop, times=-1)]
    error = failure(lambda: pull(hub, cache, [file]))
    assert (error.exit_code, left(cache)) == (ExitCode.NOT_FOUND, [])
    assert "in circles" in error.message
    assert len(hub.asked("file")) == 8


# --- A repository that changes between judging and pulling --------------------------------------


def test_what_was_judged_is_pulled_though_the_branch_moved_on(
    hub: HubServer, cache: Cache, noise: Path, weights: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    hub.add(NAME, {FILE: weights})
    assert pull(hub, cache, [file]) == [noise.read_bytes()]


def test_a_commit_that_is_gone_is_said(hub: HubServer, cache: Cache, noise: Path) -> None:
    hub.add(NAME, {FILE: noise})
    files = files_of(hub)
    hub.repositories[NAME].commits.clear()
    error = failure(lambda: pull(hub, cache, files))
    assert isinstance(error, NotFound)
    assert "There is no revision" in error.message


@pytest.mark.parametrize("large", [True, False])
def test_other_bytes_under_the_same_commit_are_refused(
    hub: HubServer, cache: Cache, noise: Path, tmp_path: Path, large: bool
) -> None:
    commit = hub.add(NAME, {FILE: Stored(path=noise, large=large)})
    files = files_of(hub)
    other = tmp_path / "other"
    other.write_bytes(random.Random(4).randbytes(noise.stat().st_size))
    hub.repositories[NAME].commits[commit][FILE] = Stored(path=other, large=large)
    assert failure(lambda: pull(hub, cache, files)).exit_code is ExitCode.INTEGRITY
    assert left(cache) == []


# --- What the hub does not give -----------------------------------------------------------------


def gated(hub: HubServer) -> str | bool:
    hub.repositories[NAME].gated = "manual"
    return False


def region(hub: HubServer) -> str | bool:
    hub.repositories[NAME].region_blocked = True
    return False


def missing(hub: HubServer) -> str | bool:
    hub.repositories.clear()
    return False


def bad_token(hub: HubServer) -> str | bool:
    return "hf_bad"


def no_network(hub: HubServer) -> str | bool:
    hub.close()
    return False


NOT_GIVEN: dict[Callable[[HubServer], str | bool], str] = {
    gated: "is gated",
    region: "to your region",
    missing: "There is no repository",
    bad_token: "does not accept your token",
    no_network: "cannot be reached",
}


@pytest.mark.parametrize("cause", NOT_GIVEN, ids=lambda cause: cause.__name__)
def test_what_is_not_given_is_said_and_leaves_nothing(
    cache: Cache, noise: Path, cause: Callable[[HubServer], str | bool]
) -> None:
    with serving() as hub:
        hub.add(NAME, {FILE: noise})
        files = files_of(hub)
        token = cause(hub)
        hurried = dataclasses.replace(HURRIED, total=0.0)
        error = failure(lambda: pull(hub, cache, files, token=token, patience=hurried))
    others = [words for other, words in NOT_GIVEN.items() if other is not cause]
    assert NOT_GIVEN[cause] in error.message
    assert not any(words in error.message for words in others)
    assert (error.exit_code, list(cache.root.rglob("blobs/*"))) == (ExitCode.NOT_FOUND, [])


def test_the_token_goes_to_the_hub_and_never_to_its_store(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise}, gated="auto")
    hub.tokens["hf_good"] = {NAME}
    files = files_of(hub)
    hub.log.clear()
    hub.faults = [Fault(at="store", after=1_000_000)]
    assert pull(hub, cache, files, token="hf_good") == [noise.read_bytes()]
    assert {answer.token for answer in hub.asked("file")} == {"hf_good"}
    assert [answer.token for answer in hub.asked("store")] == ["", ""]


# --- Several at once ----------------------------------------------------------------------------


def shards(hub: HubServer, folder: Path, count: int = 3) -> list[bytes]:
    """Adds a model in parts of a megabyte."""
    parts = [random.Random(index).randbytes(1_000_000) for index in range(count)]
    paths = {f"model-{index}.gguf": folder / f"part-{index}" for index in range(count)}
    for path, data in zip(paths.values(), parts, strict=True):
        path.write_bytes(data)
    hub.add(NAME, paths)
    return parts


def test_shards_come_side_by_side(hub: HubServer, cache: Cache, tmp_path: Path) -> None:
    parts = shards(hub, tmp_path)
    hub.pace = 4e6
    most = 0

    class Watching(Told):
        def advanced(self, size: int) -> None:
            nonlocal most
            super().advanced(size)
            most = max(most, sum(not answer.done for answer in hub.asked("store")))

    told = Watching()
    assert pull(hub, cache, progress=told) == parts
    assert (most, told.here, told.is_finished) == (3, 3_000_000, True)


def test_one_shard_that_fails_stops_the_others(
    hub: HubServer, cache: Cache, tmp_path: Path
) -> None:
    shards(hub, tmp_path)
    hub.pace = 500e3
    hub.faults = [Fault(at="file", path="model-1", status=404)]
    began = time.monotonic()
    error = failure(lambda: pull(hub, cache))
    assert "There is no file model-1.gguf" in error.message
    assert time.monotonic() - began < 1.5
    hub.pace = 0.0
    assert len(pull(hub, cache)) == 3


def test_the_rate_is_limited_for_all_files_together(
    hub: HubServer, cache: Cache, tmp_path: Path
) -> None:
    parts = shards(hub, tmp_path)
    began = time.monotonic()
    assert pull(hub, cache, limit_rate=5e6) == parts
    assert 0.55 < time.monotonic() - began < 3.0


def test_two_processes_that_pull_the_same_file_do_not_fight(
    hub: HubServer, cache: Cache, weights: Path
) -> None:
    hub.add(NAME, {FILE: weights})
    (file,) = files_of(hub)
    hub.pace = 40e6
    processes = [puller.start(NAME) for _ in range(2)]
    assert [puller.said(process) for process in processes] == [[str(cache.pointer(file))]] * 2
    assert cache.pointer(file).read_bytes() == weights.read_bytes()
    assert len(hub.asked("store")) == 1
    assert hub.sent("store") < file.size + 1000


def test_whoever_waits_takes_over_from_one_that_is_killed(
    hub: HubServer, cache: Cache, weights: Path
) -> None:
    hub.add(NAME, {FILE: weights})
    (file,) = files_of(hub)
    hub.pace = 20e6
    first = puller.start(NAME)
    while size(cache.partial(file)) < 10_000_000:
        assert first.poll() is None
        time.sleep(0.001)
    second = puller.start(NAME)
    time.sleep(0.5)
    first.kill()
    first.communicate()
    hub.pace = 0.0
    assert puller.said(second) == [str(cache.pointer(file))]
    assert cache.pointer(file).read_bytes() == weights.read_bytes()
    assert hub.sent("store") < file.size + (2 << 20)


# --- The disk -----------------------------------------------------------------------------------


def test_a_disk_that_takes_no_more_is_said_and_what_is_here_is_kept(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    (file,) = files_of(hub)
    (line,) = puller.said(puller.start(NAME, chunk=256 << 10, size=2_000_000))
    assert line.startswith("1 The disk under ")
    assert cache.partial(file).stat().st_size == 2_000_000
    assert puller.said(puller.start(NAME, chunk=256 << 10)) == [str(cache.pointer(file))]
    assert hub.asked("store")[1].start >= 2_000_000 - (256 << 10)


def test_a_disk_that_fills_up_meanwhile_is_said_and_the_next_try_goes_on(
    hub: HubServer, tmp_path: Path
) -> None:
    """On a small disk of its own; where none can be had, the test before stands alone."""
    path = tmp_path / "small.gguf"
    path.write_bytes(random.Random(5).randbytes(300_000))
    hub.add(NAME, {FILE: path})
    disk = tmp_path / "disk"
    disk.mkdir()
    lines = puller.said(puller.start(NAME, chunk=32 << 10, fill=disk))
    assert lines == ["no disk of its own"] or (
        lines[0].startswith("1 There is too little room on the disk under")
        and lines[1].endswith(FILE)
        and len(hub.asked("store")) == 2
    )


def test_a_file_for_which_there_is_no_room_is_not_begun(
    hub: HubServer, cache: Cache, noise: Path
) -> None:
    hub.add(NAME, {FILE: noise})
    huge = dataclasses.replace(files_of(hub)[0], size=1 << 50)
    hub.log.clear()
    error = failure(lambda: pull(hub, cache, [huge]))
    assert "There is too little room" in error.message
    assert (hub.log, cache.root.exists()) == ([], False)


# --- Ways out -----------------------------------------------------------------------------------


def test_a_proxy_is_used_for_open_lines(
    hub: HubServer, cache: Cache, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, {FILE: Stored(path=noise, large=False)})
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    (line,) = puller.said(puller.start(NAME))
    assert Path(line).read_bytes() == noise.read_bytes()


def test_a_proxy_is_used_for_protected_lines(
    cache: Cache, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(CERTIFICATE) as hub, tunnel() as proxy:
        hub.add(NAME, {FILE: Stored(path=noise, large=False)})
        monkeypatch.setenv("HF_HOME", str(cache.root.parent))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        (line,) = puller.said(puller.start(NAME))
        assert Path(line).read_bytes() == noise.read_bytes()
        assert proxy.led_to == [hub.url.removeprefix("https://")]


def test_nothing_is_asked_of_the_hub_but_the_model(
    hub: HubServer, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, {FILE: noise})
    for name in ("AI_AGENT", "AGENT", "CLAUDECODE"):
        monkeypatch.setenv(name, "1")
    puller.said(puller.start(NAME))
    puller.said(puller.start(NAME))
    assert [answer.at for answer in hub.log] == ["metadata", "file", "store", "metadata"]
    assert {answer.method for answer in hub.log} == {"GET"}
    assert os.environ["HF_ENDPOINT"] == hub.url
