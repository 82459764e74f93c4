"""Where requests are written down: a line in the log, and the counts of the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.serving.door.account import Account
from launcher.serving.door.logs import Logs
from launcher.serving.door.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Told of every request, when it comes and when it is over."""

    logs: Logs
    metrics: Metrics

    def opened(self) -> None:
        """A request has come."""
        self.metrics.opened()

    def closed(self, account: Account, scope: Scope) -> None:
        """A request is over."""
        self.logs.request(account)
        self.metrics.closed(account, scope)
