"""Docs are made or checked, never trusted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")


def test_the_pages_that_are_made_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/make_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if path.startswith(("https://", "http://")):
            continue
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {path}"
        if anchor:
            assert anchor[1:] in anchors(target), f"{page.name}: {path}{anchor}"


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be reached by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_script_that_docs_name_exists() -> None:
    for page in PAGES:
        for name in re.findall(r"\bscripts/([a-z_\-]+(?:\.py)?)", page.read_text(encoding="utf-8")):
            assert (ROOT / "scripts" / name).is_file(), f"{page.name}: scripts/{name}"
