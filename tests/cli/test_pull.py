"""Models of the hub: judged before they are fetched, verified before they are loaded."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.models import catalogue
from launcher.models.sources import packaged_file
from launcher.paths import Places
from tests.command import launcher
from tests.headers import statements, write_model
from tests.hub_server import Fault, HubServer, Stored
from tests.hub_server import hub as hub
from tests.terminal import Start

WHO = ("--as", "individual:DE")
SMOL = "acme/SmolLM2-135M-Instruct-GGUF"
SMOL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOL_CARD = {"license": "apache-2.0", "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
ANSWER = ("Why is the sky blue?", *WHO, "-n", "8", "--temp", "0", "-c", "512")
Q2_K = 10
SCOUT = "acme/Llama-4-Scout-17B-16E-Instruct-GGUF"


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """The real model, as a package carries it."""
    model = catalogue.load().model("smollm2:135m")
    assert model is not None
    path = packaged_file(model)
    assert path is not None
    return path


@pytest.fixture
def smol(hub: HubServer, smollm2_file: Path) -> str:
    """A repository with the real model."""
    hub.add(SMOL, {SMOL_FILE: smollm2_file, "README.md": Path(__file__)}, SMOL_CARD)
    hub.add("HuggingFaceTB/SmolLM2-135M-Instruct", card={"license": "apache-2.0"})
    return SMOL


@pytest.fixture
def scout(hub: HubServer, tmp_path: Path) -> str:
    """A repository with a model that Germans may not use, under its own name."""
    file = write_model(tmp_path / "scout.gguf", "llama-4-scout", metadata=statements(name="Scout"))
    stored = Stored(path=file, size=file.stat().st_size, sha256="ab" * 32, git_sha1="cd" * 20)
    hub.add(SCOUT, {"Scout-Q4_K_M.gguf": stored}, {"license": "other", "license_name": "llama4"})
    return SCOUT


def test_run_fetches_what_is_not_here_and_answers(hub: HubServer, smol: str) -> None:
    result = launcher("run", smol, *ANSWER)
    assert result.code == 0, result.err
    assert "sky" in result.out
    assert f"Fetching {SMOL_FILE} (98 MB)." in result.err
    again = len(hub.log)
    assert launcher("run", smol, *ANSWER).out == result.out
    assert len(hub.log) == again, "a cached start asks nothing"


def test_nothing_is_asked_of_the_hub_but_the_model(hub: HubServer, smol: str) -> None:
    assert launcher("pull", smol, *WHO).code == 0
    paths = {answer.path.partition("?")[0] for answer in hub.log if answer.at != "store"}
    assert paths
    assert all("SmolLM2-135M-Instruct" in path for path in paths), paths


def test_a_refusal_costs_little(hub: HubServer, scout: str) -> None:
    for verb in (("run", scout, "hi"), ("pull", scout), ("check", scout)):
        before = hub.sent()
        result = launcher(*verb, *WHO)
        assert result.code == 3
        assert "llama-eu-multimodal" in result.out + result.err
        assert 0 < hub.sent() - before < 1_000_000


def test_pull_says_where_the_file_is_and_that_it_is_verified(smol: str, hub: HubServer) -> None:
    result = launcher("pull", f"hf.co/{smol}:Q4_1", *WHO)
    assert result.code == 0
    path = Path(result.out.strip())
    assert path.name == SMOL_FILE
    assert path.is_file()
    assert "verified (98 MB)" in result.err
    before = hub.sent("store")
    assert launcher("pull", smol, *WHO).code == 0
    assert hub.sent("store") == before, "what is here is not fetched again"


def test_pull_as_json_prints_an_object_a_line(smol: str) -> None:
    result = launcher("pull", smol, *WHO, "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["event"] for line in lines if line["event"] != "progress"] == [
        "started",
        "fetched",
        "done",
    ]
    assert lines[-1]["verified"] is True
    assert all(line["done"] <= line["total"] for line in lines[:-1])


def test_a_dry_run_says_what_would_come_and_fetches_none_of_it(hub: HubServer, smol: str) -> None:
    result = launcher("pull", smol, *WHO, "--dry-run", "--json")
    assert result.code == 0
    offer = result.body["pull"]
    assert offer["quant"] == "Q4_1"
    assert offer["repository"] == smol
    assert offer["size"] == offer["to_fetch"] == offer["files"][0]["size"]
    assert offer["fit"]["fits"]
    assert offer["free"] > 0
    assert hub.sent() < 1_000_000
    text = launcher("pull", smol, *WHO, "--dry-run")
    assert "To fetch: 98 MB" in text.out
    assert "Memory:" in text.out


def test_without_a_network_what_is_here_works(hub: HubServer, smol: str) -> None:
    assert launcher("pull", smol, *WHO).code == 0
    count = len(hub.log)
    off = {"HF_HUB_OFFLINE": "1"}
    for arguments in (("run", smol, *ANSWER), ("pull", smol, *WHO), ("show", smol, *WHO)):
        result = launcher(*arguments, variables=off)
        assert result.code == 0, result.err
        assert launcher(*arguments, "--offline").code == 0
    listed = launcher("list", *WHO, "--json", variables=off).body["models"]
    assert f"hf.co/{smol}:Q4_1" in [entry["name"] for entry in listed]
    missing = launcher("run", "acme/other", "hi", *WHO, "--offline")
    assert missing.code == 10
    assert "network is switched off" in missing.err
    assert len(hub.log) == count


def test_a_catalogue_name_is_fetched_from_its_repository(
    hub: HubServer, smollm2_file: Path, accepted: Places
) -> None:
    model = catalogue.load().model("smollm2:1.7b")
    assert model is not None
    hub.add(model.usual.repository, {model.usual.file: smollm2_file}, SMOL_CARD)
    hub.add("HuggingFaceTB/SmolLM2-135M-Instruct", card={"license": "apache-2.0"})
    assert launcher("check", "smollm2:1.7b", *WHO).code == 0
    assert not hub.log, "a name of the catalogue is checked without the hub"
    result = launcher("run", "smollm2:1.7b", *ANSWER)
    assert result.code == 0, result.err
    assert "smollm2:1.7b" in launcher("list", *WHO).out


def padded(path: Path, size: int) -> Path:
    """A free model in a file of a given size."""
    said = statements(license="mit")
    without = write_model(path, metadata=said, tensors={"pad.weight": ((8,), 0)}).stat().st_size
    missing = (size - without) // 4 + 8
    write_model(path, metadata=said, tensors={"pad.weight": ((missing,), 0)})
    assert path.stat().st_size == size
    return path


def test_a_file_that_turns_out_different_is_judged_again(hub: HubServer, tmp_path: Path) -> None:
    """Where the header is asked for alone, another model's is shown."""
    tiny: dict[str, Any] = {"layers": 1, "embedding": 256, "feed_forward": 256, "experts": 2}
    tiny |= {"vocabulary": 300, "heads": 8, "kv_heads": 8}
    real = write_model(tmp_path / "real.gguf", "llama-4-scout", **tiny)
    size = real.stat().st_size
    honest = padded(tmp_path / "honest.gguf", size)
    hub.add("acme/m", {"m-Q4_K_M.gguf": real}, {"license": "mit"})
    shown = honest.read_bytes()[: 64 << 10]
    headers = {"Content-Range": f"bytes 0-{len(shown) - 1}/{size}"}
    lie = Fault(at="store", status=206, headers=headers, body=shown)
    hub.faults = [lie]
    result = launcher("run", "acme/m", "hi", *WHO)
    assert result.code == 3, result.err
    assert "llama-eu-multimodal" in result.err
    assert hub.faults == [], "it was not even shown"


def test_what_a_refusal_offers_is_fetched_and_runs(
    hub: HubServer, folders: Places, accepted: Places, tmp_path: Path
) -> None:
    """A model of the shape of Llama 3.2 3B, all of whose weights are zero."""
    model = catalogue.load().model("llama3.2:3b")
    assert model is not None
    said = statements(name="Llama 3.2 3B Instruct", license="llama3.2")
    file = write_model(tmp_path / "3b.gguf", "llama-3.2-3b", metadata=said, quant=Q2_K)
    hub.add(model.usual.repository, {model.usual.file: file}, {"license": "llama3.2"})
    refused = launcher("check", "llama4:scout", *WHO, "--json")
    assert refused.code == 3
    commands = [shlex.split(command) for command in refused.body["remedies"]]
    assert ["launcher", "run", "llama3.2:3b"] in commands
    for command in commands:
        result = launcher(*command[1:], "hi", *WHO, "-n", "2", "-c", "256", "-t", "2")
        assert result.code == 0, result.err
        assert result.out


def test_quant_auto_says_what_it_chose(hub: HubServer, tmp_path: Path) -> None:
    small = write_model(tmp_path / "a.gguf", metadata=statements(license="mit"))
    large = write_model(tmp_path / "b.gguf", metadata=statements(license="mit"), layers=8)
    hub.add("acme/m", {"m-Q4_K_M.gguf": small, "m-Q8_0.gguf": large}, {"license": "mit"})
    usual = launcher("pull", "acme/m", *WHO, "--dry-run", "--json").body["pull"]
    assert usual["quant"] == "Q4_K_M"
    result = launcher("pull", "acme/m", *WHO, "--dry-run", "--json", "--quant", "auto")
    assert result.body["pull"]["quant"] == "Q8_0"
    assert "Q8_0: the largest that fits" in result.err
    missing = launcher("pull", "acme/m:Q2_K", *WHO)
    assert missing.code == 10
    assert "It has: Q4_K_M, Q8_0" in missing.err


def test_what_a_cached_file_is_called_is_not_believed(hub: HubServer, smol: str) -> None:
    path = Path(launcher("pull", smol, *WHO).out.strip())
    blob = path.resolve()
    with blob.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    result = launcher("run", smol, *ANSWER)
    assert result.code == 6
    assert "is not what was published" in result.err
    assert "launcher rm" in result.err


# --- Which hub is believed ------------------------------------------------------------------------


def trusting(folders: Places, hub: HubServer) -> None:
    """The settings of somebody who takes a hub of their own for the hub."""
    folders.config.mkdir(parents=True, exist_ok=True)
    (folders.config / "settings.toml").write_text(f'hubs = ["{hub.url}"]\n')


@pytest.fixture
def successor(hub: HubServer, tmp_path: Path) -> str:
    """A free model on an architecture that a restricted family uses, with honest cards."""
    said = statements(name="Hy-MT2 1.8B", license="apache-2.0")
    file = write_model(tmp_path / "hy.gguf", "hy-mt2-1.8b", metadata=said)
    stored = Stored(path=file, sha256="12" * 32, git_sha1="34" * 20)
    card = {"license": "apache-2.0", "base_model": "tencent/Hy-MT2-1.8B"}
    hub.add("acme/Hy-MT2-1.8B-GGUF", {"Hy-MT2-1.8B-Q4_K_M.gguf": stored}, card)
    hub.add("tencent/Hy-MT2-1.8B", card={"license": "apache-2.0"})
    return "acme/Hy-MT2-1.8B-GGUF"


def test_the_cards_of_another_hub_only_add(hub: HubServer, successor: str, folders: Places) -> None:
    unbelieved = launcher("check", successor, *WHO, "--json")
    assert unbelieved.code == 5
    assert unbelieved.body["code"] == "needs-identification"
    trusting(folders, hub)
    believed = launcher("check", successor, *WHO, "--json")
    assert believed.code == 0
    assert {"commit"} <= {claim["kind"] for claim in believed.body["model"]["evidence"]}


def test_the_record_says_which_hub_it_was(hub: HubServer, smol: str, folders: Places) -> None:
    assert launcher("run", smol, *ANSWER).code == 0
    records = [json.loads(line) for line in folders.records.read_text().splitlines()]
    origins = [record["files"][0]["origin"] for record in records]
    assert {origin["hub"] for origin in origins} == {hub.url}
    assert {origin["repository"] for origin in origins} == {smol}


# --- What stands in the way -----------------------------------------------------------------------


def test_what_a_name_shuts_out_is_refused_before_a_gate_of_the_hub(
    hub: HubServer, scout: str, accepted: Places
) -> None:
    hub.repositories[scout].gated = "manual"
    refused = launcher("run", scout, "hi", *WHO)
    assert refused.code == 3
    assert "llama-eu-multimodal" in refused.err
    gated = launcher("run", scout, "hi", "--as", "individual:US")
    assert gated.code == 10
    assert "is gated" in gated.err
    assert "hf auth login" in gated.err


def test_without_an_answer_the_name_alone_still_refuses(accepted: Places) -> None:
    """Nothing listens where the tests' hub would be."""
    assert launcher("check", SCOUT, *WHO).code == 3
    allowed = launcher("check", SCOUT, "--as", "individual:US")
    assert allowed.code == 10
    assert "cannot be reached" in allowed.err


def test_what_was_not_seen_has_nothing_to_be_accepted() -> None:
    unseen = launcher("check", "acme/Llama-3.2-1B-Instruct-GGUF", *WHO)
    assert unseen.code == 10
    assert "cannot be reached" in unseen.err
    undeclared = launcher("check", "acme/Llama-3.2-1B-Instruct-GGUF")
    assert undeclared.code == 4


def test_a_parent_that_cannot_be_read_is_said(hub: HubServer, smollm2_file: Path) -> None:
    hub.add(SMOL, {SMOL_FILE: smollm2_file}, {**SMOL_CARD, "base_model": "acme/gone"})
    result = launcher("check", SMOL, *WHO)
    assert result.code == 0
    assert "Seen:     card:acme/gone = could not be read" in result.out


def test_show_looks_at_what_is_not_here(hub: HubServer, smol: str) -> None:
    result = launcher("show", smol, *WHO)
    assert result.code == 0
    assert f"hf.co/{smol}/{SMOL_FILE}, not on this disk (98 MB)" in result.out
    assert "Q4_1" in result.out
    assert hub.sent() < 1_000_000


def test_ctrl_c_keeps_what_was_fetched(hub: HubServer, smol: str, terminal: Start) -> None:
    hub.pace = 20e6
    screen = terminal("pull", smol, *WHO)
    screen.expect("MB/s")
    while hub.sent("store") < 30_000_000:
        time.sleep(0.05)
    screen.type("\x03")
    screen.expect("the same command goes on with it")
    assert screen.end() == 130
    hub.pace = 0
    before = hub.sent("store")
    assert launcher("pull", smol, *WHO).code == 0
    assert hub.sent("store") - before < 80_000_000


def test_too_little_memory_is_said_before_the_download(hub: HubServer, tmp_path: Path) -> None:
    said = statements(license="mit")
    file = write_model(tmp_path / "big.gguf", "llama-3.1-405b", metadata=said)
    stored = Stored(path=file, sha256="56" * 32, git_sha1="78" * 20)
    hub.add("acme/big", {"big-Q4_K_M.gguf": stored}, {"license": "mit"})
    launcher("licences", "accept", "llama3.1", *WHO)
    result = launcher("pull", "acme/big", *WHO)
    assert result.code == 9, result.err
    assert "of memory" in result.err
    assert hub.sent() < 1_000_000


def test_a_bad_rate_is_wrong_use() -> None:
    for rate in ("0", "fast", "-1", "1T"):
        result = launcher("pull", "llama3.2:1b", *WHO, "--limit-rate", rate)
        assert result.code == 2
        assert "--limit-rate" in result.err
