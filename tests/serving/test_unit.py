"""The systemd unit that `--print-unit` makes. It was held against systemd 252's own check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Here

MODEL = "smollm2:135m"
KEY = "k" * 24


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unit(here: Here, *arguments: object) -> dict[str, list[str]]:
    """The settings, each with all its values."""
    result = here("serve", *arguments, "--print-unit")
    assert (result.code, result.err) == (0, "")
    found: dict[str, list[str]] = {}
    for line in result.out.splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_command_line_is_the_service_s(here: Here) -> None:
    made = unit(here, MODEL, "--as", "individual:DE", "-np", "2", "--keep-alive=-1")
    (command,) = made["ExecStart"]
    assert command.startswith("/")
    assert command.endswith(f" serve {MODEL} --as individual:DE -np 2 --keep-alive=-1")
    assert made["Type"] == ["notify"]
    assert made["KillMode"] == ["mixed"]
    assert made["StateDirectory"] == ["launcher"]
    assert "LAUNCHER_HOME=%S/launcher" in made["Environment"][0]


def test_it_is_confined_and_the_worker_s_own_sandbox_still_works(here: Here) -> None:
    made = unit(here, MODEL)
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "MemoryDenyWriteExecute"):
        assert made[name] == ["yes"]
    assert made["ProtectSystem"] == ["strict"]
    assert made["CapabilityBoundingSet"] == [""]
    assert made["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
    allowed = " ".join(made["SystemCallFilter"]).split()
    assert {"@system-service", "seccomp", "landlock_restrict_self"} <= set(allowed)


def test_files_are_absolute_and_keys_are_handed_over(here: Here, folder: Path) -> None:
    (folder / "keys.txt").touch(mode=0o600)
    (folder / "keys.txt").write_text(KEY)
    names = ["my model-00001-of-00002.gguf", "my model-00002-of-00002.gguf"]
    for name in names:
        (folder / name).touch()
    made = unit(here, f"./{names[0]}", "--api-key-file", "keys.txt")
    (command,) = made["ExecStart"]
    assert f'"{folder}/{names[0]}"' in command
    assert "--api-key-file %d/api-keys" in command
    assert made["LoadCredential"] == [f"api-keys:{folder}/keys.txt"]
    for name in names:
        assert f'"{folder}/{name}"' in made["BindReadOnlyPaths"]
    assert not any(KEY in value for values in made.values() for value in values)
    inline = unit(here, MODEL, f"--api-key-file={folder}/keys.txt")
    assert inline["LoadCredential"] == [f"api-keys:{folder}/keys.txt"]


def test_what_systemd_would_read_otherwise_is_quoted(here: Here) -> None:
    (command,) = unit(here, MODEL, "--alias", 'a "$HOME" 50% \\x')["ExecStart"]
    assert command.endswith(r'--alias "a \"$$HOME\" 50%% \\x"')
    result = here("serve", MODEL, "--alias", "two\nlines", "--print-unit")
    assert (result.code, result.out) == (1, "")


def test_ports_below_1024_get_the_one_right_that_they_need(here: Here) -> None:
    assert unit(here, MODEL, "--port", "443")["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]
    assert unit(here, MODEL, "--port", "8443")["AmbientCapabilities"] == [""]


def test_a_server_of_this_computer_that_is_offline_gets_no_other_network(here: Here) -> None:
    assert unit(here, MODEL, "--offline")["IPAddressDeny"] == ["any"]
    assert "IPAddressDeny" not in unit(here, MODEL)
    others = unit(here, MODEL, "--offline", "--host", "0.0.0.0", "--no-key")
    assert "IPAddressDeny" not in others


def test_a_unix_socket_lies_where_the_service_may_make_one(here: Here) -> None:
    made = unit(here, MODEL, "--unix", "/run/launcher/http.sock")
    assert made["RuntimeDirectory"] == ["launcher"]
    result = here("serve", MODEL, "--unix", "/tmp/http.sock", "--print-unit")
    assert result.code == 1
    assert "/run/launcher/http.sock" in result.err


def test_who_uses_the_models_is_taken_along(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_AS", "company:US,DE")
    assert "LAUNCHER_AS=company:US,DE" in unit(here, MODEL)["Environment"]


def test_no_unit_is_made_for_what_would_not_start(here: Here) -> None:
    result = here("serve", MODEL, "--host", "0.0.0.0", "--print-unit")
    assert (result.code, result.out) == (2, "")
