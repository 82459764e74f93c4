"""Where the launcher keeps what it knows: the user's own folders, and the site's.

`LAUNCHER_HOME` moves all of the user's state into one folder. Nothing moves the site's
folder: on a provisioned device it binds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "LAUNCHER_HOME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders in use."""

    config: Path
    """Declaration, acceptances, identifications, the user's own policy and settings."""
    state: Path
    """Records, and what was measured or verified on this machine."""
    cache: Path
    """What can be made again."""
    data: Path
    """What the user brought in: models under names of their own."""
    site: Path
    """The administrator's folder; what it declares binds."""

    @property
    def declaration(self) -> Path:
        return self.config / "declaration.toml"

    @property
    def site_declaration(self) -> Path:
        return self.site / "declaration.toml"

    @property
    def acceptances(self) -> Path:
        return self.config / "acceptances.toml"

    @property
    def identifications(self) -> Path:
        return self.config / "identifications.toml"

    @property
    def site_identifications(self) -> Path:
        return self.site / "identifications.toml"

    @property
    def records(self) -> Path:
        return self.state / "records.jsonl"

    @property
    def digests(self) -> Path:
        """What files were found to be; see `models.digests`."""
        return self.state / "digests.json"

    @property
    def cards(self) -> Path:
        """What the cards of repositories said; see `models.cards`."""
        return self.state / "cards.json"

    @property
    def uses(self) -> Path:
        """When models were used last; see `models.uses`."""
        return self.state / "uses.json"

    @property
    def peaks(self) -> Path:
        """How much memory models took; see `engine.peaks`."""
        return self.state / "peaks.json"

    @property
    def calibrations(self) -> Path:
        """Which settings were fastest here; see `engine.calibration`."""
        return self.state / "calibrations.json"

    @property
    def headers(self) -> Path:
        """Headers of files that were read; see `models.headers`."""
        return self.cache / "headers"

    @property
    def prompts(self) -> Path:
        """What was computed of system prompts; see `engine.prompt_cache`."""
        return self.cache / "prompts"

    @property
    def prompts_key(self) -> Path:
        """By which those are known to be ours."""
        return self.state / "prompts.key"

    @property
    def chat_history(self) -> Path:
        """What was typed in chats."""
        return self.state / "chat-history.jsonl"

    @property
    def sessions(self) -> Path:
        """Conversations; see `sessions`."""
        return self.data / "sessions"

    @property
    def library(self) -> Path:
        """Models under names that the user gave them; see `models.library`."""
        return self.data / "models"


def places(environment: Mapping[str, str] = os.environ) -> Places:
    """The folders for this user, on this system."""
    home = environment.get(HOME_VARIABLE)
    if home:
        root = Path(home).expanduser().absolute()
        return Places(
            config=root / "config",
            state=root / "state",
            cache=root / "cache",
            data=root / "data",
            site=site_folder(),
        )
    import platformdirs

    return Places(
        config=platformdirs.user_config_path("launcher", appauthor=False),
        state=platformdirs.user_state_path("launcher", appauthor=False),
        cache=platformdirs.user_cache_path("launcher", appauthor=False),
        data=platformdirs.user_data_path("launcher", appauthor=False),
        site=site_folder(),
    )


def site_folder() -> Path:
    """The folder only an administrator can write to."""
    if sys.platform == "win32":
        return Path(r"C:\ProgramData\launcher")  # not %PROGRAMDATA%, which a user can set
    if sys.platform == "darwin":
        return Path("/Library/Application Support/launcher")
    return Path("/etc/launcher")
