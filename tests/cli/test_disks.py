"""Folders that may not be written to: one sentence, and all as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns.disks import call, contents, read_only, unprivileged


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("declare", "--as", "individual:FR"), "The declaration could not be written to"),
        (("licences", "accept", "gemma", "--as", "individual:FR"), "The answer could not be"),
        (("identify", "smollm2:135m", "--withdraw"), "identifications.toml could not be written"),
    ],
)
@pytest.mark.parametrize("folder", ["", "config"])
def test_a_folder_that_may_not_be_written_to_is_an_error(
    tmp_path: Path, folder: str, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    with read_only(tmp_path):
        done = call(tmp_path, arguments, unprivileged)
        assert contents(tmp_path) == {}
    assert done.code == 1
    assert words in done.err
    assert "Traceback" not in done.err
