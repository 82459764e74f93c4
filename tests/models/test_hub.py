"""What the hub says, over a line that is real: judged with little traffic, and never trusted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import ExitCode, HeaderError, LauncherError
from launcher.models import gguf, remote
from launcher.models.hub import BUDGET, ENDPOINT, Hub
from launcher.models.remote import RemoteFile, Repository
from tests import headers
from tests.hub_server import Fault, HubServer, Stored, serving

NAME = "maker/Llama-3.2-1B-Instruct-GGUF"
CARD = {"license": "llama3.2", "base_model": ["meta-llama/Llama-3.2-1B-Instruct"]}
FILE = "Llama-3.2-1B-Instruct-Q4_K_M.gguf"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The header of the real model, with its 128,000 tokens, and a hole for the weights."""
    path = tmp_path_factory.mktemp("llama") / FILE
    return headers.write_model(path, "llama-3.2-1b")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return headers.write_model(tmp_path / "small.gguf")


def asked(hub: HubServer, **changes: Any) -> Hub:
    """A client that does not wait long."""
    return Hub(**{"endpoint": hub.url, "timeout": 1.0, "pause": 0.01, **changes})


def failure(ask: Callable[[], object]) -> LauncherError:
    with pytest.raises(LauncherError) as raised:
        ask()
    return raised.value


# --- What it says of a repository ---------------------------------------------------------------


def test_one_call_gives_the_commit_the_card_and_the_digest_of_every_file(
    hub: HubServer, small: Path
) -> None:
    commit = hub.add(NAME, {FILE: small, "sub/other.gguf": small}, CARD)
    found = asked(hub).repository(NAME)
    stored = Stored(path=small)
    assert found.commit == found.card.commit == commit
    assert found.card.licences == ("llama3.2",)
    assert found.card.base_models == ("meta-llama/Llama-3.2-1B-Instruct",)
    assert found.downloads == 4321
    assert [(file.name, file.size, file.sha256) for file in found.files] == [
        (FILE, stored.size, stored.sha256),
        ("sub/other.gguf", stored.size, stored.sha256),
    ]
    assert {file.commit for file in found.files} == {commit}
    assert len(hub.log) == 1


def test_a_file_that_lies_in_git_has_gits_own_digest(hub: HubServer, small: Path) -> None:
    stored = Stored(path=small, large=False)
    hub.add(NAME, {FILE: stored})
    (file,) = asked(hub).repository(NAME).files
    assert (file.sha256, file.git_sha1, file.etag) == ("", stored.git_sha1, stored.git_sha1)


def test_a_branch_a_tag_and_a_commit_lead_to_their_commit(hub: HubServer, small: Path) -> None:
    first = hub.add(NAME, {FILE: small})
    second = hub.add(NAME, {"new.gguf": small})
    other = hub.add(NAME, {}, revision="refs/pr/1")
    client = asked(hub)
    assert client.repository(NAME).commit == second
    assert client.repository(NAME, first).commit == first
    assert client.repository(NAME, "refs/pr/1").commit == other


@pytest.mark.parametrize(
    ("gated", "gate"), [(False, ""), ("auto", "auto"), ("manual", "manual"), (True, "auto")]
)
def test_the_gate_of_a_repository_is_told(hub: HubServer, gated: object, gate: str) -> None:
    hub.add(NAME, {}, {"extra_gated_eu_disallowed": True}, gated=gated)
    found = asked(hub).repository(NAME)
    assert (found.gate, found.gated, found.card.gated) == (gate, bool(gate), bool(gate))
    assert found.card.eu_disallowed


def test_the_card_of_a_renamed_repository_bears_the_name_it_goes_by_now(
    hub: HubServer, small: Path
) -> None:
    hub.add("old/name", {FILE: small}, known_as="new/name")
    found = asked(hub).repository("old/name")
    assert (found.name, found.card.repository) == ("old/name", "new/name")
    assert found.files[0].repository == "old/name"


def test_a_file_that_is_not_there_is_answered_with_the_nearest_names(
    hub: HubServer, small: Path
) -> None:
    hub.add(NAME, {FILE: small, "mmproj.gguf": small, "README.md": small})
    found = asked(hub).repository(NAME)
    assert found.file(FILE).name == FILE
    error = failure(lambda: found.file(FILE.replace("Q4_K_M", "Q4_KM")))
    assert error.exit_code is ExitCode.NOT_FOUND
    assert error.commands[0] == f"launcher run hf.co/{NAME}/{FILE}"
    assert "README" not in " ".join(error.commands)


# --- The chain of cards -------------------------------------------------------------------------


def test_each_parent_is_read_once_at_its_own_commit(hub: HubServer) -> None:
    hub.add(NAME, {}, {"base_model": ["maker/merge", "maker/lora"]})
    hub.add("maker/merge", {}, {"base_model": ["base/one", "base/two"]})
    hub.add("maker/lora", {}, {"base_model": "base/one"})
    one = hub.add("base/one", {}, {"license": "llama3.2", "extra_gated_eu_disallowed": True})
    hub.add("base/two", {}, {"license": "mit"}, gated="manual")
    client = asked(hub)
    chain = client.chain(client.repository(NAME))
    names = [card.repository for card in chain.cards]
    assert names == [NAME, "maker/merge", "maker/lora", "base/one", "base/two"]
    assert chain.is_complete
    assert chain.cards[3].commit == one
    assert chain.cards[3].eu_disallowed
    assert chain.cards[4].gated
    assert len(hub.log) == 5


def test_a_parent_that_cannot_be_read_is_said(hub: HubServer) -> None:
    hub.add(NAME, {}, {"base_model": ["base/one", "gone/away", "base/private"]})
    hub.add("base/one", {}, {"license": "mit"})
    hub.add("base/private", {}, private=True)
    client = asked(hub)
    chain = client.chain(client.repository(NAME))
    assert [card.repository for card in chain.cards] == [NAME, "base/one"]
    assert chain.unread == ("gone/away", "base/private")


def test_a_chain_that_runs_in_circles_ends(hub: HubServer) -> None:
    hub.add("a/a", {}, {"base_model": "b/b"})
    hub.add("b/b", {}, {"base_model": "a/a"})
    client = asked(hub)
    assert client.chain(client.repository("a/a")).is_complete
    assert len(hub.log) == 2


def test_parents_are_not_waited_for_longer_than_the_limit(hub: HubServer) -> None:
    hub.add(NAME, {}, {"base_model": ["slow/one", "slow/two", "slow/three"]})
    for parent in ("slow/one", "slow/two", "slow/three"):
        hub.add(parent, {}, {})
    client = asked(hub, tries=1)
    found = client.repository(NAME)
    hub.faults = [Fault(at="metadata", wait=0.3, times=-1)]
    chain = client.chain(found, limit=0.2)
    assert chain.unread == ("slow/two", "slow/three")


# --- The header, from a distance ----------------------------------------------------------------


def test_a_refusal_costs_less_than_a_megabyte(hub: HubServer, llama: Path) -> None:
    files = {f"Llama-3.2-1B-Instruct-Q{bits}.gguf": llama for bits in (3, 4, 5, 6, 8)}
    prompt = "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT " * 700
    hub.add(NAME, files, {**CARD, "extra_gated_prompt": prompt})
    hub.add("meta-llama/Llama-3.2-1B-Instruct", {}, {"extra_gated_prompt": prompt}, gated="manual")
    client = asked(hub)
    found = client.repository(NAME)
    client.chain(found)
    header = client.header(found.file("Llama-3.2-1B-Instruct-Q4.gguf"))
    assert not header.complete
    assert (header.architecture, header.parameter("block_count")) == ("llama", 16)
    assert header.parameter("embedding_length") == 2048
    assert header.file_size == llama.stat().st_size
    assert hub.sent("store") <= BUDGET + 4000
    assert hub.sent() < 1_000_000


def test_a_short_header_is_read_whole(hub: HubServer, small: Path) -> None:
    hub.add(NAME, {FILE: small})
    client = asked(hub)
    header = client.header(client.repository(NAME).files[0])
    assert header.complete
    assert header.tensors


def test_what_is_no_model_is_found_out_by_its_first_bytes(hub: HubServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"PK\3\4" + bytes(3_000_000))
    hub.add(NAME, {FILE: other})
    client = asked(hub)
    error = failure(lambda: client.header(client.repository(NAME).files[0]))
    assert isinstance(error, HeaderError)
    assert error.message.startswith(f"hf.co/{NAME}/{FILE} cannot be loaded: not a GGUF file")
    assert hub.sent() < 70_000


def test_a_server_that_only_gives_whole_files_is_read_as_far_as_one_answer_goes(
    hub: HubServer, llama: Path
) -> None:
    hub.add(NAME, {FILE: llama})
    hub.faults = [Fault(at="store", no_ranges=True, times=-1)]
    client = asked(hub)
    header = client.header(client.repository(NAME).files[0])
    assert header.architecture == "llama"
    assert not header.complete


def test_answers_that_fail_for_a_while_are_asked_for_again(hub: HubServer, small: Path) -> None:
    hub.add(NAME, {FILE: small})
    hub.faults = [
        Fault(at="metadata", status=503),
        Fault(at="metadata", status=429, headers={"Retry-After": "0"}),
        Fault(at="file", status=500),
        Fault(at="store", after=100),
        Fault(at="store", after=100, silent=5),
    ]
    client = asked(hub, timeout=0.3)
    assert client.header(client.repository(NAME).files[0]).complete
    assert hub.faults == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(at="file", headers={"X-Linked-Etag": f'"{"0" * 64}"'}, location="x"), 6),
        (Fault(at="file", headers={"X-Linked-Size": "12"}, location="x"), 6),
        (Fault(at="store", headers={"Content-Range": "bytes 0-9/10"}), 6),
        (Fault(at="store", headers={"Content-Range": "bytes 7-9/10"}, times=-1), 10),
        (Fault(at="store", headers={"Content-Encoding": "gzip"}), 10),
        (Fault(at="file", location="/maker/x/resolve/main/y", times=-1), 10),
        (Fault(at="file", location="ftp://127.0.0.1/x"), 10),
        (Fault(at="file", location="http://[::1/x"), 10),
        (Fault(at="file", location="//", times=-1), 10),
        (Fault(at="store", status=403, times=-1), 10),
        (Fault(at="file", status=404), 10),
        (Fault(at="file", status=304), 10),
    ],
)
def test_a_header_is_never_taken_from_an_answer_that_contradicts_itself(
    hub: HubServer, small: Path, fault: Fault, code: int
) -> None:
    hub.add(NAME, {FILE: small})
    client = asked(hub, tries=2)
    file = client.repository(NAME).files[0]
    hub.faults = [fault]
    assert failure(lambda: client.header(file)).exit_code == code


def test_the_reader_stops_where_its_budget_ends(hub: HubServer, llama: Path) -> None:
    hub.add(NAME, {FILE: llama})
    client = asked(hub)
    fetch = client.reader(client.repository(NAME).files[0], budget=1000)
    assert fetch(0, 600) == llama.read_bytes()[:600]
    with pytest.raises(gguf.PartialRead):
        fetch(600, 401)
    assert len(fetch(600, 400)) == 400


# --- What goes wrong, each in its own words -----------------------------------------------------


def gate_without_token(hub: HubServer) -> Hub:
    hub.repositories[NAME].gated = "manual"
    return asked(hub, token=False)


def gate_with_token(hub: HubServer) -> Hub:
    hub.repositories[NAME].gated = "manual"
    hub.tokens["hf_good"] = set()
    return asked(hub, token="hf_good")


def region(hub: HubServer) -> Hub:
    hub.repositories[NAME].region_blocked = True
    return asked(hub, token="hf_whatever_it_is")


def bad_token(hub: HubServer) -> Hub:
    return asked(hub, token="hf_bad")


def no_network(hub: HubServer) -> Hub:
    return asked(hub, endpoint="http://127.0.0.1:9")


def unknown_name(hub: HubServer) -> Hub:
    return asked(hub, endpoint="http://hub.invalid")


def switched_off(hub: HubServer) -> Hub:
    return asked(hub, offline=True)


def limited(hub: HubServer) -> Hub:
    hub.faults = [Fault(at="file", status=429, headers={"Retry-After": "900"}, times=-1)]
    return asked(hub)


def in_trouble(hub: HubServer) -> Hub:
    hub.faults = [Fault(at="file", status=502, times=-1)]
    return asked(hub)


def gone_file(hub: HubServer) -> Hub:
    hub.repositories[NAME].commits = {commit: {} for commit in hub.repositories[NAME].commits}
    return asked(hub)


def gone_commit(hub: HubServer) -> Hub:
    hub.repositories[NAME].commits = {}
    return asked(hub)


def gone_repository(hub: HubServer) -> Hub:
    hub.repositories = {}
    return asked(hub)


def private_repository(hub: HubServer) -> Hub:
    hub.repositories[NAME].private = True
    hub.tokens["hf_good"] = set()
    return asked(hub, token="hf_good")


def silent(hub: HubServer) -> Hub:
    hub.faults = [Fault(at="file", wait=0.4, times=-1)]
    return asked(hub, timeout=0.1, tries=2)


def legal_reasons(hub: HubServer) -> Hub:
    hub.faults = [Fault(at="file", status=451)]
    return asked(hub)


def disabled(hub: HubServer) -> Hub:
    message = {"X-Error-Message": "Access to this resource is disabled."}
    hub.faults = [Fault(at="file", status=403, headers=message)]
    return asked(hub)


def proxy_with_a_password(hub: HubServer) -> Hub:
    hub.faults = [Fault(at="file", status=407)]
    return asked(hub)


WORDS: dict[Callable[[HubServer], Hub], tuple[str, str]] = {
    gate_without_token: ("is gated: its owner lets in only", "then log in"),
    gate_with_token: ("the account of your token was not let in", "Agree to its terms at"),
    region: ("does not give maker/Llama-3.2-1B-Instruct-GGUF to your region", "no token helps"),
    legal_reasons: ("to your region", "network address"),
    bad_token: ("does not accept your token", "/settings/tokens"),
    no_network: ("127.0.0.1 cannot be reached", "Go online"),
    unknown_name: ("hub.invalid cannot be reached: its name is not known here", "Go online"),
    switched_off: ("the network is switched off", "HF_HUB_OFFLINE"),
    limited: ("limits how often", "logged in"),
    in_trouble: ("is in trouble (HTTP 502)", "Try again later"),
    gone_file: ("There is no file", "See what there is"),
    gone_commit: ("There is no revision", "newest"),
    gone_repository: ("There is no repository", "Check its name"),
    private_repository: ("or it is private", "token of an account"),
    silent: ("nothing came for", "goes on with it"),
    proxy_with_a_password: ("The proxy cannot be used", "HTTPS_PROXY"),
    disabled: ("Access to this resource is disabled", "HTTP 403"),
}


@pytest.mark.parametrize("cause", WORDS, ids=lambda cause: cause.__name__)
def test_every_failure_has_its_own_sentence_and_remedy(
    hub: HubServer, small: Path, cause: Callable[[HubServer], Hub]
) -> None:
    hub.add(NAME, {FILE: small})
    (file,) = asked(hub, token=False).repository(NAME).files
    client = cause(hub)
    began = time.monotonic()
    error = failure(lambda: client.header(file))
    message, hint = WORDS[cause]
    assert message in error.message
    assert hint in error.hint
    assert error.exit_code is ExitCode.NOT_FOUND
    assert time.monotonic() - began < 3


def test_the_sentences_differ() -> None:
    sentences = [message for message, _ in WORDS.values()]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (bad_token, "does not accept your token"),
        (no_network, "cannot be reached"),
        (gone_repository, "There is no repository"),
        (switched_off, f"{NAME} is not on this disk"),
    ],
)
def test_the_question_about_a_repository_fails_in_the_same_words(
    hub: HubServer, break_it: Callable[[HubServer], Hub], words: str
) -> None:
    hub.add(NAME, {})
    client = break_it(hub)
    assert words in failure(lambda: client.repository(NAME)).message


def test_a_revision_that_is_not_there_is_said(hub: HubServer) -> None:
    hub.add(NAME, {})
    error = failure(lambda: asked(hub).repository(NAME, "v9"))
    assert error.message == f"There is no revision v9 of {NAME}"


def test_a_private_repository_opens_to_the_token_that_may_see_it(
    hub: HubServer, small: Path
) -> None:
    hub.add(NAME, {FILE: small}, private=True, gated="manual")
    hub.tokens["hf_owner"] = {NAME}
    client = asked(hub, token="hf_owner")
    assert client.header(client.repository(NAME).files[0]).complete


@pytest.mark.parametrize("token", ["hf_ä", "hf_a\nX-Evil: 1", "hf_\x7f"])
def test_a_token_that_cannot_be_one_is_not_sent(hub: HubServer, token: str) -> None:
    hub.add(NAME, {})
    assert "your token" in failure(lambda: asked(hub, token=token).repository(NAME)).message
    assert hub.log == []


def test_the_token_does_not_follow_a_redirect_to_the_store(hub: HubServer, small: Path) -> None:
    hub.add(NAME, {FILE: small})
    hub.tokens["hf_good"] = set()
    client = asked(hub, token="hf_good")
    client.header(client.repository(NAME).files[0])
    assert {answer.token for answer in hub.asked("store")} == {""}
    assert {answer.token for answer in hub.log if answer.at != "store"} == {"hf_good"}


# --- Answers that are not those of a hub --------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Please log in to the train's network</html>",
        b"[1, 2]",
        b"",
        b"\xff\xfe",
        b'{"sha": 5}',
        b'{"sha": "main", "siblings": []}',
        b'{"siblings": []}',
        b"[" * 200_000,
        b'{"sha": ' + b"9" * 6000 + b"}",
        b"x" * (17 << 20),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_an_answer_that_is_none_ends_with_a_sentence(hub: HubServer, body: bytes) -> None:
    hub.raw[f"/api/models/{NAME}"] = body
    error = failure(lambda: asked(hub).repository(NAME))
    assert error.exit_code is ExitCode.NOT_FOUND
    assert "is not the answer of a hub" in error.message


def test_an_answer_that_drips_is_not_waited_for(hub: HubServer, small: Path) -> None:
    hub.add(NAME, {FILE: small})
    client = asked(hub, timeout=0.1, tries=1)
    file = client.repository(NAME).files[0]
    hub.pace = 1000.0
    began = time.monotonic()
    error = failure(lambda: client.header(file))
    assert error.exit_code is ExitCode.NOT_FOUND
    assert time.monotonic() - began < 2


SHA = "ab" * 32
COMMIT = "cd" * 20
GOOD = {"rfilename": "a.gguf", "size": 5, "blobId": COMMIT, "lfs": {"sha256": SHA, "size": 5}}


def listed(*siblings: object) -> Repository:
    found = remote.read_repository("a/b", {"sha": COMMIT, "siblings": list(siblings)})
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    [
        "../x.gguf",
        "a/../../x.gguf",
        "/etc/passwd.gguf",
        "a//x.gguf",
        "./x.gguf",
        "a\\..\\x.gguf",
        "C:x.gguf",
        "a\0.gguf",
        "a\n.gguf",
        "a\x1b[2J.gguf",
        "a\u202efugg.gguf",
        "a/" * 600 + "x.gguf",
        "ä" * 130 + ".gguf",
        "",
        "..",
        7,
        None,
    ],
)
def test_a_name_that_leads_elsewhere_is_left_out(name: object) -> None:
    assert listed({**GOOD, "rfilename": name}, GOOD).files == listed(GOOD).files


@pytest.mark.parametrize("size", [-1, 1 << 60, True, "5", None, 5.0, [5]])
def test_a_size_that_cannot_be_leaves_the_file_out(size: object) -> None:
    assert listed({**GOOD, "lfs": {"sha256": SHA, "size": size}}).files == ()
    assert listed({"rfilename": "a.gguf", "size": size, "blobId": COMMIT}).files == ()


@pytest.mark.parametrize("digest", ["", "AB" * 32, "ab" * 20, SHA + "\n", 7, None, "../../x"])
def test_a_digest_that_is_none_is_not_one(digest: object) -> None:
    (file,) = listed({**GOOD, "lfs": {"sha256": digest, "size": 5}}).files
    assert file.etag == ""


def test_a_file_that_is_listed_twice_counts_once() -> None:
    twice = {**GOOD, "lfs": {"sha256": "ef" * 32, "size": 9}}
    assert [file.sha256 for file in listed(GOOD, twice).files] == [SHA]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["size", "lfs", "sha256", "rfilename", "license", "base_model", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {"sha": st.just(COMMIT) | json_values},
        optional=dict.fromkeys(("id", "siblings", "cardData", "gated", "downloads"), json_values),
    )
)
def test_whatever_the_hub_says_is_read_or_left_out(values: dict[str, Any]) -> None:
    found = remote.read_repository("a/b", values)
    if found is not None:
        assert found.commit == COMMIT
        assert all(remote.is_safe_name(file.name) for file in found.files)
        assert all(0 <= file.size <= remote.MAX_SIZE for file in found.files)


# --- Addresses, variables, proxies --------------------------------------------------------------


def test_the_variables_of_the_hubs_client_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Hub.from_environment({}) == Hub(endpoint=ENDPOINT)
    assert Hub.from_environment({"HF_ENDPOINT": "https://mirror.example/"}).endpoint == (
        "https://mirror.example"
    )
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        assert Hub.from_environment({name: "yes"}).offline
        assert not Hub.from_environment({name: "0"}).offline
    assert Hub.from_environment({}, offline=True).offline
    assert Hub.from_environment({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}).token is False
    assert Hub.from_environment({"HF_HUB_ETAG_TIMEOUT": "33"}).timeout == 33
    assert Hub.from_environment({"HF_HUB_ETAG_TIMEOUT": "soon"}).timeout == 10


@pytest.mark.parametrize(
    "address", ["hf-mirror.com", "ftp://x", "http://", "file:///x", "http://\n"]
)
def test_an_address_that_is_none_is_said(address: str) -> None:
    error = failure(lambda: Hub.from_environment({"HF_ENDPOINT": address}))
    assert "HF_ENDPOINT" in error.message


PROGRAM = """
import os, sys
from launcher.errors import LauncherError
from launcher.models.hub import Hub
before = dict(os.environ)
try:
    hub = Hub.from_environment()
    found = hub.repository(sys.argv[1])
    print(found.commit, hub.header(found.files[0]).architecture)
except LauncherError as error:
    print(error.message)
assert dict(os.environ) == before
"""


def program(*arguments: str) -> str:
    """What a process of its own says, with the variables that are set now."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_nothing_is_asked_of_the_hub_but_the_model(
    hub: HubServer, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(NAME, {FILE: small})
    for name in ("AI_AGENT", "AGENT"):
        monkeypatch.setenv(name, "somebody")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "soon")
    monkeypatch.setenv("HF_HUB_ENABLE_HF_TRANSFER", "1")
    assert program(NAME) == f"{commit} llama"
    assert [answer.at for answer in hub.log] == ["metadata", "file", "store"]
    assert not any("agent" in answer.agent or "torch" in answer.agent for answer in hub.log)
    assert {answer.agent.split("/")[0] for answer in hub.log} == {"licence-launcher"}


def test_the_token_of_an_earlier_login_is_used(hub: HubServer, small: Path, tmp_path: Path) -> None:
    hub.add(NAME, {FILE: small}, gated="auto")
    hub.tokens["hf_stored"] = {NAME}
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_stored\n")
    assert program(NAME).endswith("llama")
    assert hub.log[0].token == "hf_stored"


def test_the_token_in_the_environment_comes_first(
    hub: HubServer, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, {FILE: small}, gated="auto")
    hub.tokens["hf_set"] = {NAME}
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_stored\n")
    monkeypatch.setenv("HF_TOKEN", "hf_set")
    assert program(NAME).endswith("llama")


def test_a_proxy_is_used(hub: HubServer, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add(NAME, {FILE: Stored(path=small, large=False)})
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    assert program(NAME) == f"{commit} llama"


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://127.0.0.1:9", "127.0.0.1 cannot be reached"),
        ("nonsense://x", "The proxy cannot be used"),
        ("socks5://127.0.0.1:9", "The proxy cannot be used"),
    ],
)
def test_a_proxy_that_does_not_work_is_said(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, proxy: str, words: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert words in program(NAME)


CERTIFICATE = Path(__file__).with_name("untrusted.pem")


def test_a_certificate_that_proves_nothing_is_said(hub: HubServer) -> None:
    with serving(CERTIFICATE) as untrusted:
        error = failure(lambda: asked(untrusted).repository(NAME))
    assert error.message.startswith("The certificate of 127.0.0.1 is not trusted")
    assert "clock" in error.hint


def test_a_protected_line_is_not_left_for_an_open_one(
    hub: HubServer, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(CERTIFICATE) as protected:
        protected.add(NAME, {FILE: small})
        monkeypatch.setenv("HF_ENDPOINT", protected.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert "sends us to an address that is not safe" in program(NAME)
        assert [answer.at for answer in protected.log] == ["metadata", "file"]


def test_starting_the_program_does_not_import_the_hubs_client() -> None:
    code = "import sys, launcher.models.hub, launcher.models.transfer, launcher.models.cache\n"
    code += "print([name for name in ('huggingface_hub', 'httpx2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_remote_file_is_named_as_a_person_would_give_it() -> None:
    file = RemoteFile(repository="a/b", commit=COMMIT, name="c/d.gguf", size=1)
    assert str(file) == "hf.co/a/b/c/d.gguf"
