"""The engine's set-up, with real programs: pip, its cache, the worker, and what can break them.

Nothing here compiles the engine, which takes minutes: where an engine is to be built, a package
of the same name carries the one that is installed already, or one that dies as a bad build does.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import textwrap
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from launcher.errors import ExitCode, IntegrityError, LauncherError, NotFound
from launcher.installation import build, compiler, failures, pip, proof
from launcher.installation.progress import Lines, one_at_a_time
from launcher.models import catalogue
from launcher.models.sources import packaged_file

ROOT = Path(__file__).resolve().parents[2]
AMX = frozenset({"avx2", "amx_tile"})
WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def without_pip_settings(**added: str) -> dict[str, str]:
    """This environment without what tells pip of registries, caches and options."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, **added}


@pytest.fixture
def lines() -> Lines:
    return Lines(io.StringIO())


# --- The compiler -----------------------------------------------------------------------


@pytest.fixture
def compilers(tmp_path: Path) -> Path:
    """A PATH with compilers that take every option."""
    for name in ("cc", "c++"):
        program(tmp_path / name, "exit 0")
    return tmp_path


def test_on_a_processor_with_amx_the_engine_is_built_without_it(compilers: Path) -> None:
    built = build.flags({"PATH": str(compilers)}, AMX)
    assert built == {"PATH": str(compilers), "CFLAGS": WITHOUT_AMX, "CXXFLAGS": WITHOUT_AMX}


def test_flags_of_the_user_stay_and_none_is_doubled(compilers: Path) -> None:
    given = {"PATH": str(compilers), "CFLAGS": "-O2 -mno-amx-int8", "LDFLAGS": "-s"}
    built = build.flags(given, AMX)
    assert built["CFLAGS"] == "-O2 -mno-amx-int8 -mno-amx-tile -mno-amx-bf16"
    assert built["LDFLAGS"] == "-s"


def test_on_other_processors_nothing_is_changed(compilers: Path) -> None:
    given = {"PATH": str(compilers), "CFLAGS": "-O2"}
    assert build.flags(given, frozenset({"avx2"})) == given
    assert build.flags(given, frozenset()) == given


def test_a_compiler_that_does_not_know_the_flags_is_not_given_them(compilers: Path) -> None:
    program(compilers / "cc", 'case "$*" in *amx*) exit 1 ;; esac')
    built = build.flags({"PATH": str(compilers)}, AMX)
    assert "CFLAGS" not in built
    assert built["CXXFLAGS"] == WITHOUT_AMX


def test_the_compilers_of_this_computer_are_found_to_work() -> None:
    assert compiler.missing(os.environ) is None


def test_a_missing_compiler_is_named_with_the_command_that_installs_one(tmp_path: Path) -> None:
    error = compiler.missing({"PATH": str(tmp_path)})
    assert error is not None
    assert "no C compiler works here" in error.message
    assert len(error.commands) == 1


def test_a_compiler_without_the_headers_of_its_language_counts_as_missing(compilers: Path) -> None:
    program(compilers / "c++", "exit 1")
    error = compiler.missing({"PATH": str(compilers)})
    assert error is not None
    assert "no C++ compiler works here" in error.message


def test_a_compiler_that_cc_names_and_that_is_not_there_is_named(compilers: Path) -> None:
    error = compiler.missing({"PATH": str(compilers), "CC": "gcc-99 -m64"})
    assert error is not None
    assert "('gcc-99 -m64' does not)" in error.message


def test_at_least_one_file_is_compiled_at_a_time() -> None:
    assert 1 <= compiler.jobs() <= (os.cpu_count() or 1)


# --- Progress ---------------------------------------------------------------------------


def test_on_a_pipe_a_step_is_one_line_now_and_then() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    for second in range(5):
        lines.show(f"Compiling, {second} s")
    lines.say("Done.")
    assert stream.getvalue() == "Compiling, 0 s\nDone.\n"


def test_on_a_terminal_a_step_is_one_line_rewritten_in_place() -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal, open(ours, "rb", buffering=0) as screen:
        lines = Lines(terminal)
        lines.show("Compiling, 10 s")
        lines.show("Compiling")
        lines.say("Done.")
        seen = screen.read(1000).decode()
    assert seen == f"\rCompiling, 10 s\r{'Compiling':<15}\r{' ' * 9}\rDone.\r\n"


def test_files_compiled_are_counted_from_ninja_and_from_make() -> None:
    stage = pip.Stage("Installing the engine")
    stage.read("  [3/9] copying something")
    assert stage.text() == "Installing the engine"
    stage.read("  Running command Building wheel for llama_cpp_python (pyproject.toml)")
    stage.read("  [57/193] /usr/bin/g++ -DGGML_BUILD -c ggml.cpp")
    assert stage.text() == "Compiling the engine: 57 of 193 files"
    stage.read("  [ 29%] Building CXX object ggml.cpp.o")
    assert stage.text() == "Compiling the engine: 29 %"


def test_the_wait_is_told_for_the_size_of_the_machine() -> None:
    least, most = map(int, re.findall(r"\d+", pip.announcement()))
    assert 1 <= least < most <= 30


def test_a_second_set_up_waits_for_the_first_and_says_so(tmp_path: Path, lines: Lines) -> None:
    code = textwrap.dedent(f"""\
        from pathlib import Path
        from launcher.installation.progress import Lines, one_at_a_time
        with one_at_a_time(Path({str(tmp_path / "set-up")!r}), Lines()):
            Path({str(tmp_path / "second")!r}).touch()
    """)
    with one_at_a_time(tmp_path / "set-up", lines):
        second = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        assert "waiting for it to finish" in second.stderr.readline()
        assert not (tmp_path / "second").exists()
    with second.stderr:
        assert second.wait(timeout=30) == 0
    assert (tmp_path / "second").exists()


def test_a_set_up_waits_for_what_a_killed_one_has_left_running(
    tmp_path: Path, lines: Lines
) -> None:
    code = textwrap.dedent(f"""\
        import os
        from pathlib import Path
        from launcher.installation import pip
        from launcher.installation.progress import Lines, one_at_a_time
        with one_at_a_time(Path({str(tmp_path / "set-up")!r}), Lines()):
            pip.run(
                ["sh", "-c", "kill -9 $PPID; sleep 0.5; touch {tmp_path}/ended"],
                what="A step", log=Path(os.devnull), progress=Lines(),
            )
    """)
    killed = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    with one_at_a_time(tmp_path / "set-up", lines):
        assert (tmp_path / "ended").exists()


# --- Why it failed ----------------------------------------------------------------------


def failure(command: Sequence[str | Path], tmp_path: Path, lines: Lines) -> LauncherError:
    with pytest.raises(LauncherError) as caught:
        pip.run(
            [str(part) for part in command], what="A step", log=tmp_path / "log", progress=lines
        )
    return caught.value


def test_a_registry_that_does_not_answer_is_told_as_such(tmp_path: Path, lines: Lines) -> None:
    with pytest.raises(NotFound) as caught:
        pip.install(
            ["--target", str(tmp_path / "there"), "click"],
            what="A step",
            log=tmp_path / "log",
            progress=lines,
            environment=without_pip_settings(
                PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1"
            ),
        )
    assert caught.value.message == "The package registry cannot be reached"
    assert "PIP_PROXY" in caught.value.hint
    assert caught.value.commands[0].startswith(shlex.quote(sys.executable))
    assert caught.value.exit_code == ExitCode.NOT_FOUND


def test_a_registry_without_the_package_is_told_apart(tmp_path: Path, lines: Lines) -> None:
    with pytest.raises(failures.NotOffered, match=r"does not offer no-such-package==1\.0"):
        pip.install(
            ["--target", str(tmp_path / "there"), "no-such-package==1.0"],
            what="A step",
            log=tmp_path / "log",
            progress=lines,
            environment=without_pip_settings(PIP_NO_INDEX="1"),
        )


def test_an_environment_without_pip_is_told_how_to_get_it(tmp_path: Path, lines: Lines) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    with pytest.raises(LauncherError, match="pip is missing") as caught:
        pip.install(["x"], what="A step", log=tmp_path / "log", progress=lines, python=python)
    assert caught.value.commands == (f"{python} -m ensurepip --upgrade",)


def test_a_full_disk_is_told_as_such(tmp_path: Path, lines: Lines) -> None:
    full = failure(["dd", "if=/dev/zero", "of=/dev/full", "count=1"], tmp_path, lines)
    assert full.message == "There is no space left on the disk"
    assert full.commands[0].startswith("df -h ")


def test_a_step_killed_for_memory_is_told_as_such(tmp_path: Path, lines: Lines) -> None:
    killed = failure(["sh", "-c", "kill -9 $$"], tmp_path, lines)
    assert "out of memory" in killed.message
    assert killed.commands == ("CMAKE_BUILD_PARALLEL_LEVEL=1 sh -c 'kill -9 $$'",)


def test_a_compiler_killed_for_memory_is_told_as_such(tmp_path: Path, lines: Lines) -> None:
    words = "c++: fatal error: Killed signal terminated program cc1plus"
    killed = failure(["sh", "-c", f"echo '{words}'; exit 1"], tmp_path, lines)
    assert "out of memory" in killed.message


def test_any_other_failure_is_told_in_the_words_of_the_program(
    tmp_path: Path, lines: Lines
) -> None:
    script = "echo 'ERROR: the moon is full'; echo 'hint: wait'; exit 3"
    odd = failure(["sh", "-c", script], tmp_path, lines)
    assert odd.message == "The set-up could not go on: ERROR: the moon is full"
    assert str(tmp_path / "log") in odd.hint
    assert "hint: wait" in (tmp_path / "log").read_text()


def test_a_disk_without_room_is_seen_before_the_wait(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    error = failures.lack_of_space([(tmp_path, free // 2), (tmp_path.parent, free)])
    assert error is not None
    assert f"{tmp_path.parent} has " in error.message
    assert error.commands == (f"df -h {shlex.quote(str(tmp_path.parent))}",)
    temporary = failures.lack_of_space([(Path(tempfile.gettempdir()), 1 << 60)])
    assert temporary is not None
    assert temporary.commands == ("export TMPDIR=/path/with/room",)
    assert failures.lack_of_space([(tmp_path, 1)]) is None


def is_running(process: int) -> bool:
    """Whether a process does anything still; what ended may wait to be noticed by its parent."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def test_a_step_ends_when_the_set_up_is_interrupted(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""\
        from pathlib import Path
        from launcher.installation import pip
        from launcher.installation.progress import Lines
        pip.run(
            ["sh", "-c", "echo $$ > {tmp_path}/step; exec sleep 60"],
            what="A step", log=Path({str(tmp_path / "log")!r}), progress=Lines(),
        )
    """)
    ours = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (tmp_path / "step").exists() or not (tmp_path / "step").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ours.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in ours.communicate(timeout=30)[1]
    while is_running(int((tmp_path / "step").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- The proof --------------------------------------------------------------------------


@pytest.fixture
def model() -> Path:
    known = catalogue.load().model(build.PROVING_MODEL)
    assert known is not None
    path = packaged_file(known)
    assert path is not None
    return path


def digest() -> str:
    known = catalogue.load().model(build.PROVING_MODEL)
    assert known is not None
    return known.usual.sha256


def test_the_engine_is_proven_by_a_real_answer(model: Path) -> None:
    proven = proof.prove(model, digest())
    assert "Paris" in proven.answer
    assert proven.extra_buffers


def test_a_model_with_another_digest_is_not_loaded_for_the_proof(tmp_path: Path) -> None:
    other = tmp_path / "model.gguf"
    other.write_bytes(b"GGUF")
    with pytest.raises(IntegrityError, match="is not the file that it should be"):
        proof.prove(other, digest())


def test_asking_whether_the_engine_is_ready_is_quick_and_imports_nothing_heavy() -> None:
    code = textwrap.dedent("""\
        import sys, time
        from launcher.installation import build
        def seconds():
            start = time.perf_counter()
            build.is_ready()
            return time.perf_counter() - start
        print(min(seconds() for _ in range(20)))
        heavy = {"llama_cpp", "numpy", "jinja2", "click", "importlib.metadata", "launcher.models"}
        print(sorted(heavy & set(sys.modules)))
    """)
    seconds, heavy = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert float(seconds) < 0.002
    assert heavy == "[]"


def test_the_set_up_needs_nothing_but_the_standard_library() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import launcher.installation.build"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_the_command_to_rebuild_by_hand_is_one_line_that_a_shell_takes() -> None:
    command = build.command()
    assert "\n" not in command
    assert "pip cache remove llama_cpp_python;" in command
    assert command.endswith("--no-deps llama-cpp-python==0.3.36")
    subprocess.run(["sh", "-n", "-c", command], check=True)


# --- The whole, with an engine that needs no compiler ---------------------------------------

BACKEND = """\
import os, zipfile
from pathlib import Path

NAME = "llama_cpp_python-0.3.36"
DYING = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    engine = Path(os.environ["TEST_ENGINE"])
    bad = os.environ["TEST_BUILD"] == "bad"
    wheel = f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / wheel, "w") as archive:
        for path in sorted(engine.rglob("*")):
            name = path.relative_to(engine).as_posix()
            if bad and name == "llama_cpp.py":
                archive.writestr("llama_cpp/" + name, DYING)
            elif path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, "llama_cpp/" + name)
        about = f"{NAME}.dist-info/"
        archive.writestr(
            about + "METADATA",
            "Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: 0.3.36\\n",
        )
        archive.writestr(
            about + "WHEEL",
            "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        archive.writestr(about + "RECORD", "")
    return wheel

if __name__ == "__main__":
    build_wheel(".")
"""

SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Surroundings:
    """A registry that offers the engine, and pip's cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.links = folder / "links"
        self.cache = folder / "cache"
        self.links.mkdir()
        engine = importlib.util.find_spec("llama_cpp")
        assert engine is not None
        assert engine.origin is not None
        self.engine = Path(engine.origin).parent

    def offer_source(self) -> None:
        with tarfile.open(self.links / "llama_cpp_python-0.3.36.tar.gz", "w:gz") as archive:
            for name, text in (
                ("PKG-INFO", "Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n"),
                ("pyproject.toml", SYSTEM),
                ("backend.py", BACKEND),
            ):
                entry = tarfile.TarInfo(f"llama_cpp_python-0.3.36/{name}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))

    def offer_wheel(self, build: str) -> None:
        environment = self.environment(TEST_BUILD=build)
        subprocess.run([sys.executable, "-c", BACKEND], cwd=self.links, env=environment, check=True)

    def environment(self, **added: str) -> dict[str, str]:
        return without_pip_settings(
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS=str(self.links),
            PIP_CACHE_DIR=str(self.cache),
            TEST_ENGINE=str(self.engine),
            **added,
        )

    def cached(self) -> list[str]:
        """Of what kind the wheels in pip's cache are: good or bad."""
        wheels = sorted(self.cache.rglob("llama_cpp_python-*.whl"))
        return [
            "bad" if b"SIGILL" in ZipFile(wheel).read("llama_cpp/llama_cpp.py") else "good"
            for wheel in wheels
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A Python environment with everything but the engine."""

    prefix: Path
    around: Surroundings

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    @property
    def packages(self) -> Path:
        version = ".".join(map(str, sys.version_info[:2]))
        return self.prefix / "lib" / f"python{version}" / "site-packages"

    def set_up(self, **added: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, ROOT / "scripts" / "set_up.py", "--engine"],
            env=self.around.environment(**added),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    def is_ready(self) -> bool:
        code = "from launcher.installation import build; print(build.is_ready())"
        return subprocess.check_output([self.python, "-c", code], text=True) == "True\n"

    def log(self) -> str:
        return (self.prefix / "launcher-engine.log").read_text()


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


def checkout(around: Surroundings, name: str) -> Checkout:
    made = Checkout(prefix=around.folder / name, around=around)
    venv.create(made.prefix, with_pip=False, symlinks=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("llama_cpp"):
            (made.packages / entry.name).symlink_to(entry)
    return made


def test_a_bad_wheel_in_the_cache_is_replaced_and_the_next_checkout_gets_the_good_one(
    around: Surroundings,
) -> None:
    around.offer_source()
    first = checkout(around, "first")
    download: list[str | Path] = [
        first.python,
        "-m",
        "pip",
        "wheel",
        "--wheel-dir",
        around.folder / "elsewhere",
    ]
    subprocess.run(
        [*download, "llama-cpp-python==0.3.36"],
        env=around.environment(TEST_BUILD="bad"),
        check=True,
    )
    assert around.cached() == ["bad"]

    done = first.set_up(TEST_BUILD="good")
    assert done.returncode == 0, done.stderr
    assert "The engine was ended by SIGILL" in done.stderr
    assert "It is built anew from source.\n" in done.stderr
    assert done.stderr.endswith("The engine works.\n")
    assert first.is_ready()
    assert around.cached() == ["good"]

    second = checkout(around, "second")
    assert not second.is_ready()
    assert second.set_up(TEST_BUILD="bad").returncode == 0
    assert "Building wheel" not in second.log()
    assert second.is_ready()


def test_an_engine_that_dies_even_when_built_anew_is_told_once_and_not_kept(
    around: Surroundings,
) -> None:
    around.offer_source()
    ours = checkout(around, "ours")
    done = ours.set_up(TEST_BUILD="bad")
    assert done.returncode == ExitCode.ENGINE_DIED
    assert "Error: The engine was built anew, and still does not work here" in done.stderr
    assert done.stderr.count("Error:") == 1
    assert around.cached() == []
    assert not ours.is_ready()


def test_without_a_compiler_the_user_is_told_before_any_build(
    around: Surroundings, tmp_path: Path
) -> None:
    around.offer_source()
    (tmp_path / "nothing").mkdir()
    ours = checkout(around, "ours")
    done = ours.set_up(TEST_BUILD="good", PATH=str(tmp_path / "nothing"))
    assert done.returncode == ExitCode.FAILED
    assert "no C compiler works here" in done.stderr
    assert "Building wheel" not in ours.log()


def test_a_ready_made_wheel_that_passes_its_proof_is_taken_without_a_compiler(
    around: Surroundings, tmp_path: Path
) -> None:
    around.offer_wheel("good")
    (tmp_path / "nothing").mkdir()
    ours = checkout(around, "ours")
    done = ours.set_up(PATH=str(tmp_path / "nothing"))
    assert done.returncode == 0, done.stderr
    assert ours.is_ready()


def test_a_proof_ends_with_the_library_it_was_made_for(around: Surroundings) -> None:
    around.offer_wheel("good")
    ours = checkout(around, "ours")
    assert ours.set_up().returncode == 0
    assert ours.is_ready()
    library = next((ours.packages / "llama_cpp" / "lib").glob("libggml-cpu*"))
    os.utime(library, (1, 1))
    assert not ours.is_ready()
    again = ours.set_up()
    assert again.stderr == "Trying the engine\nThe engine works.\n"
    assert ours.is_ready()


def test_an_installation_that_was_cut_off_is_made_whole(around: Surroundings) -> None:
    around.offer_wheel("good")
    ours = checkout(around, "ours")
    assert ours.set_up().returncode == 0
    (ours.prefix / "launcher-engine.unfinished").touch()
    (ours.packages / "llama_cpp_python-0.3.36.dist-info" / "RECORD").unlink()
    (ours.packages / "llama_cpp" / "_ctypes_extensions.py").unlink()
    done = ours.set_up()
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("The engine works.\n")
    assert ours.is_ready()
