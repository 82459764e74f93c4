"""Disks that are full, and folders that may not be written to, met through the command line.

Full is told by a limit on the size of files, which cuts a write short as a full disk does and
needs no rights, and by a small file system of its own where one can be mounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.campaigns.campaign import Tally
from tests.headers import statements, write_model

MODEL = "smollm2:135m"
TIMEOUT = 60.0  # seconds
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MEMORIES = ("digests.json", "cards.json", "uses.json")
SIZE = 512 << 10  # bytes of the file system that is filled


@dataclass(frozen=True, slots=True)
class Case:
    """A call that cannot write what it wants to, and how it must end."""

    arguments: tuple[str, ...]
    code: int
    said: str
    best_effort: bool = False


RUN = ("run", MODEL, "Hello", "-n", "2", "-c", "512", "--temp", "0")
RECORDS = "state/records.jsonl"
RECORD = "The record could not be written to"
RUNS = (
    Case(RUN, 1, f"Error: {RECORD}"),
    Case(RUN, 0, f"Warning: {RECORD}", best_effort=True),
    Case(("run", "llama4:scout", "Hello"), 3, "Exit code 3"),
    Case(("check", MODEL), 0, ""),
)
STATEMENTS = (
    Case(("declare", "--as", "individual:FR"), 1, "The declaration could not be written to"),
    Case(("licences", "accept", "llama3.2"), 1, "The answer could not be written to"),
    Case(("identify", "{file}", "--withdraw"), 1, "identifications.toml could not be written"),
)
CASES = (*STATEMENTS, *RUNS)
WITHOUT_HOME = (
    Case(("declare", "--as", "individual:FR"), 1, "The declaration could not be written to"),
    Case(("licences", "accept", "gemma", "--as", "individual:DE"), 1, "The answer could not be"),
    Case((*RUN, "--as", "individual:DE"), 1, f"Error: {RECORD}"),
    Case(("run", "llama4:scout", "Hello", "--as", "individual:DE"), 3, "Exit code 3"),
    Case(("check", MODEL, "--as", "individual:DE"), 0, ""),
)


@dataclass(frozen=True, slots=True)
class Called:
    """How a call ended."""

    code: int
    out: str
    err: str


def call(home: Path, arguments: tuple[str, ...], before: Callable[[], None]) -> Called:
    """Calls the launcher as a process; `before` is what is done to that process first."""
    variables = {
        **os.environ,
        "LAUNCHER_HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",  # Python would keep what a full disk took of it
    }
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        env=variables,
        preexec_fn=before,
    )
    return Called(done.returncode, done.stdout, done.stderr)


def _nothing() -> None:
    """What is done to a process on a disk that is well."""


def _limited(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def unprivileged() -> None:
    """Takes from root what lets it write where nobody may."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "a capability could not be dropped")


# --- One kind of trouble after another ----------------------------------------------------------


def trouble(*, whole: bool = True) -> Tally:
    """Every case on a limit that is met at once, on one met by the records, and read-only.

    Not whole: every way to write, in one kind of trouble each.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, tally)
        at_once = partial(_limited, 10)
        by_records = partial(_limited, (folder / "required" / RECORDS).stat().st_size + 10)
        put(folder, CASES if whole else STATEMENTS, at_once, tally, "full")
        put(folder, RUNS, by_records, tally, "full for records")
        with read_only(folder):
            put(folder, CASES if whole else (), unprivileged, tally, "read-only")
            put(folder / "required" / "nowhere", WITHOUT_HOME, unprivileged, tally, "no home")
    return tally


def prepare(folder: Path, tally: Tally) -> None:
    """Homes in which everything was written once, on a disk that was well."""
    home = folder / "required"
    model = write_model(folder / "model.gguf", metadata=statements(license="mit"))
    for arguments in (
        ("declare", "--as", "individual:DE"),
        ("licences", "accept", "gemma"),
        ("identify", str(model), "--licence", "mit", "--reason", "it was made here"),
        RUN,
    ):
        done = call(home, arguments, _nothing)
        if done.code:
            tally.faults.append(f"well: {arguments[0]} ended with {done.code}: {done.err}")
    shutil.copytree(home, folder / "best-effort")
    settings = folder / "best-effort/config/settings.toml"
    settings.write_text('records = "best-effort"\n', encoding="utf-8")


def put(
    folder: Path, cases: tuple[Case, ...], before: Callable[[], None], tally: Tally, kind: str
) -> None:
    """Puts the cases; none may change a file, and each must end as it should."""
    for case in cases:
        home = folder / ("best-effort" if case.best_effort else "required")
        file = str(folder / "model.gguf")
        arguments = tuple(argument.format(file=file) for argument in case.arguments)
        old = contents(home)
        done = call(home, arguments, before)
        tally.counts["calls"] += 1
        for fault in _faults(case, done):
            tally.faults.append(f"{kind}: {' '.join(case.arguments)}: {fault}")
        if contents(home) != old:
            tally.faults.append(f"{kind}: {' '.join(case.arguments)}: changed a file")


def _faults(case: Case, done: Called) -> Iterator[str]:
    if done.code != case.code:
        yield f"exit code {done.code}, not {case.code}: {done.err[-400:]}"
    if case.said not in done.err:
        yield f"{case.said!r} is not said: {done.err[-400:]}"
    if "Traceback" in done.err or done.err.count("Error:") != (done.code == 1):
        yield f"not one clear error: {done.err[-400:]}"
    if case.arguments[0] == "run" and bool(done.out.strip()) != (done.code == 0):
        yield f"standard output: {done.out!r}"


def contents(home: Path) -> dict[str, bytes]:
    """Every file that holds something worth keeping; what is only remembered may be lost."""
    found = (path for path in sorted(home.rglob("*")) if path.is_file())
    kept = (path for path in found if path.suffix != ".lock" and path.name not in MEMORIES)
    return {str(path): path.read_bytes() for path in kept}


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing below may be written to while the block runs."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)


# --- A full file system -------------------------------------------------------------------------


def on_a_full_disk() -> Tally:
    """The cases on a small file system that is full, where one can be mounted.

    It is mounted in a room of its own: nobody else sees it, and it goes with the process.
    """
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(ours, pickle.dumps(_on_a_full_disk(Path(folder))))
            finally:
                os._exit(0)
        os.close(ours)
        with os.fdopen(theirs, "rb") as stream:
            data = stream.read()
        os.waitpid(child, 0)
    tally: Tally = pickle.loads(data)
    return tally


def _on_a_full_disk(folder: Path) -> Tally:
    tally = Tally()
    try:
        _mount(folder)
    except OSError:
        return tally  # the summary says so
    prepare(folder, tally)
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    put(folder, CASES, _nothing, tally, "full file system")
    tally.counts["calls on a full file system"] = tally.counts["calls"]
    return tally


def _mount(folder: Path) -> None:
    """Mounts a small file system that only this process and its children see."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    own_users = 0 if user == 0 else CLONE_NEWUSER
    _demand(libc.unshare(CLONE_NEWNS | own_users))
    if own_users:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    _demand(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    options = f"size={SIZE}".encode()
    _demand(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options))


def _demand(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "not permitted")
