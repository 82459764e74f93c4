"""What the user types for MODEL: read by its form, never by what lies on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import ExitCode, NotFound
from launcher.models.refs import CatalogueRef, HubRef, PathRef, Ref, is_repository, parse

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llama3.2:1b", "llama3.2:1b"),
        ("Llama3.2:1B", "llama3.2:1b"),
        ("  smollm2\n", "smollm2"),
        ("llama3.2-vision:11b", "llama3.2-vision:11b"),
        ("phi3.5", "phi3.5"),
        ("a_b-c.d:e_f-g.h", "a_b-c.d:e_f-g.h"),
    ],
)
def test_a_word_is_a_name_of_the_catalogue(text: str, name: str) -> None:
    assert parse(text) == CatalogueRef(name)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("owner/name", HubRef("owner/name")),
        ("owner/name:Q4_K_M", HubRef("owner/name", quant="Q4_K_M")),
        ("owner/name@main", HubRef("owner/name", revision="main")),
        (f"owner/name@{SHA}:Q8_0", HubRef("owner/name", quant="Q8_0", revision=SHA)),
        ("Owner-1/Na.me_2-GGUF", HubRef("Owner-1/Na.me_2-GGUF")),
        ("hf.co/owner/name", HubRef("owner/name")),
        ("hf.co/owner/name:Q4_K_M", HubRef("owner/name", quant="Q4_K_M")),
        ("hf://owner/name", HubRef("owner/name")),
        ("HF.CO/owner/name", HubRef("owner/name")),
        ("huggingface.co/owner/name", HubRef("owner/name")),
        ("https://huggingface.co/owner/name", HubRef("owner/name")),
        ("https://www.huggingface.co/owner/name/", HubRef("owner/name")),
        ("http://hf.co/owner/name", HubRef("owner/name")),
        ("hf.co/owner/name/file.gguf", HubRef("owner/name", file="file.gguf")),
        ("hf.co/owner/name/Q4/file.GGUF", HubRef("owner/name", file="Q4/file.GGUF")),
        ("hf.co/owner/name/a file.gguf", HubRef("owner/name", file="a file.gguf")),
        (
            "https://huggingface.co/owner/name/resolve/main/file.gguf?download=true",
            HubRef("owner/name", file="file.gguf", revision="main"),
        ),
        (
            f"https://huggingface.co/owner/name/blob/{SHA}/folder/file.gguf",
            HubRef("owner/name", file="folder/file.gguf", revision=SHA),
        ),
        (
            "https://huggingface.co/owner/name/tree/main",
            HubRef("owner/name", revision="main"),
        ),
        (
            "https://huggingface.co/owner/name/resolve/refs%2Fpr%2F1/file.gguf",
            HubRef("owner/name", file="file.gguf", revision="refs%2Fpr%2F1"),
        ),
        (
            "hf.co/owner/name@v1.0/file.gguf",
            HubRef("owner/name", file="file.gguf", revision="v1.0"),
        ),
    ],
)
def test_two_words_are_a_repository_of_the_hub(text: str, ref: HubRef) -> None:
    assert parse(text) == ref


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("model.gguf", "model.gguf"),
        ("MODEL.GGUF", "MODEL.GGUF"),
        ("owner/name/model.gguf", "owner/name/model.gguf"),
        ("./smollm2", "smollm2"),
        ("../smollm2", "../smollm2"),
        ("/models/smollm2", "/models/smollm2"),
        ("a model.gguf", "a model.gguf"),
        ("llama3.2:1b.gguf", "llama3.2:1b.gguf"),
        ("C:\\models\\smollm2", "C:\\models\\smollm2"),
        ("c:/models/smollm2", "c:/models/smollm2"),
        (".\\smollm2", ".\\smollm2"),
        ("модель.gguf", "модель.gguf"),
    ],
)
def test_what_looks_like_a_file_is_a_path(text: str, path: str) -> None:
    assert parse(text) == PathRef(Path(path))


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse("~/model.gguf") == PathRef(tmp_path / "model.gguf")
    with pytest.raises(NotFound, match="home folder that does not exist"):
        parse("~nobody-has-this-name/model.gguf")


def test_a_file_does_not_take_the_place_of_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").write_bytes(b"GGUF")
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name").write_bytes(b"GGUF")
    assert parse("smollm2") == CatalogueRef("smollm2")
    assert parse("owner/name") == HubRef("owner/name")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":",
        "a:b:c",
        "smollm2 135m",
        "-smollm2",
        "smollm2:",
        ":135m",
        "smoll\0m2",
        "/models/a\0.gguf",
        "smol\u200blm2",
        "ſmollm2",  # becomes an s when case is set aside
        "\u212allama",  # likewise a k: the sign of the kelvin
        "llama３",  # a full-width digit
        "оwner/name",  # a Cyrillic o
        "owner/nаme",  # a Cyrillic a
        "owner/",
        "owner/name:Q4 K M",
        "owner/name:../../x",
        "owner/name@..",
        "owner/name@a b",
        ".owner/name",
        "owner/-name",
        "a" * 97 + "/name",
        "owner/" + "a" * 97,
        "hf.co/owner",
        "hf.co//name",
        "hf.co/owner/name/../../etc/x.gguf",
        "hf.co/owner/name/./x.gguf",
        "hf.co/owner/name//x.gguf",
        "hf.co/owner/name/..\\x.gguf",
        "hf.co/owner/name/a\nb.gguf",
        "hf.co/owner/name/README.md",
        "hf.co/owner/name/resolve",
        "hf.co/hf.co/owner/name/tree",
        "https://huggingface.co/owner/name/discussions/1",
        "https://huggingface.co/owner/name/resolve/../x.gguf",
        "https://example.com/owner/name",
        "ftp://hf.co/owner/name",
        "owner/name/more",
    ],
)
def test_what_has_no_known_form_is_not_found(text: str) -> None:
    with pytest.raises(NotFound) as caught:
        parse(text)
    assert caught.value.exit_code is ExitCode.NOT_FOUND


@pytest.mark.parametrize(
    "text",
    [
        "llama3.2:1b",
        "hf.co/owner/name",
        "hf.co/owner/name:Q4_K_M",
        "hf.co/owner/name@v1:Q4_K_M",
        "hf.co/owner/name@v1/folder/file.gguf",
        "/models/file.gguf",
    ],
)
def test_a_reference_is_shown_as_it_can_be_typed(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


def test_a_repository_has_an_owner_and_a_name() -> None:
    assert is_repository("owner/name")
    assert not is_repository("owner")
    assert not is_repository("owner/name/more")


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40) | st.text("aA1:/.@-_%?~\\ ", max_size=20).map("hf.co/{}".format))
def test_any_text_is_a_reference_or_not_found(text: str) -> None:
    ref: Ref | None = None
    try:
        ref = parse(text)
    except NotFound:
        return
    if isinstance(ref, HubRef):
        assert ref.repository.isascii()
        assert ".." not in ref.file.split("/")
        assert parse(str(ref)) == ref
    if isinstance(ref, CatalogueRef):
        assert ref.name.isascii()
