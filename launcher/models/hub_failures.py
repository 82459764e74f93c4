"""What can go wrong between here and the hub, each in a sentence with its remedy.

A failure is either final, a `LauncherError`, or one that may pass by itself, a `TryLater`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from launcher.errors import IntegrityError, LauncherError, NotFound
from launcher.models.gguf_rules import is_clean

LONGEST_ASKED_WAIT = 3600.0  # seconds; a hub that asks for more is asked again after these
FEW = 3  # failures in a row of a kind that seldom passes
MAX_MESSAGE = 200  # characters of the hub's own words

_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the hub was asked for."""

    endpoint: str
    repository: str
    revision: str = ""
    file: str = ""
    has_token: bool = False
    at_hub: bool = True
    """False for a store that the hub sent us to: it knows nothing of repositories."""

    @property
    def page(self) -> str:
        """Where a person reads about the repository."""
        return f"{self.endpoint}/{self.repository}"

    @property
    def what(self) -> str:
        return f"{self.repository}/{self.file}" if self.file else self.repository


class TryLater(Exception):
    """A failure that may pass by itself."""

    def __init__(
        self,
        error: LauncherError,
        reason: str,
        *,
        after: float = 0.0,
        tries: int | None = None,
        reached: bool = True,
    ) -> None:
        super().__init__(reason)
        self.error = error
        """What to raise when patience ends."""
        self.reason = reason
        """Why it is waited for, in a few words."""
        self.after = after
        """Seconds that the hub wants us to wait; 0 where it does not say."""
        self.tries = tries
        """After how many failures in a row there is no hope; None: as long as one likes."""
        self.reached = reached
        """Whether anything answered at all."""


def of_status(status: int, headers: Mapping[str, str], asked: Asked) -> LauncherError | TryLater:
    """What an answer means that is neither the thing asked for nor a redirect."""
    if status in (408, 429) or status >= 500:
        return _limited(headers) if status == 429 else _in_trouble(status, headers)
    if status == 407:
        return bad_proxy("it wants a name and a password")
    if not asked.at_hub:
        return _refused_by_store(status, asked)
    if status == 416:
        return changed(asked.what, "it is shorter than announced")
    code, message = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    if status == 451 or "in your region" in message:
        return _region(asked)
    if code == "GatedRepo":
        return _gate(asked)
    if status == 401 and (asked.has_token or "Authorization" in message):
        return bad_token(asked)
    if code in ("RevisionNotFound", "EntryNotFound"):
        return _missing_within(code, asked)
    if status in (400, 401, 404, 410) or code == "RepoNotFound":
        return _missing(asked, code)
    return _refused(status, message, asked)


def unreadable(asked: Asked) -> NotFound:
    """The answer is not one that a hub gives."""
    return NotFound(
        f"What {asked.endpoint} answers about {asked.repository} is not the answer of a hub",
        hint="A network that wants a login first answers so, and so does a wrong HF_ENDPOINT.",
    )


def changed(file: str, what: str) -> IntegrityError:
    """The hub contradicts what it said when the file was judged."""
    return IntegrityError(
        f"{file} is not the file that was judged: {what}",
        hint="Nothing was loaded. Ask again: what the hub has now is judged anew.",
    )


def offline(what: str) -> NotFound:
    """The network is switched off."""
    return NotFound(
        f"{what} is not on this disk, and the network is switched off",
        hint="Leave out --offline, or unset HF_HUB_OFFLINE, to fetch it.",
        commands=["launcher list"],
    )


def no_network(host: str, why: str) -> TryLater:
    """Nothing answers at all."""
    error = NotFound(
        f"{host} cannot be reached: {why}",
        hint="Go online, or use what is on this disk:",
        commands=["launcher list"],
    )
    return TryLater(error, f"{host} cannot be reached", reached=False)


def bad_proxy(why: str) -> NotFound:
    """The way out is set wrongly."""
    return NotFound(
        f"The proxy cannot be used: {why}",
        hint="It is set in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; hosts in NO_PROXY go without.",
    )


def no_trust(host: str, why: str) -> NotFound:
    """The certificate does not prove who answers."""
    return NotFound(
        f"The certificate of {host} is not trusted: {why}",
        hint="Check the clock of this computer. Where the network inspects what passes, give its "
        "certificate in SSL_CERT_FILE.",
    )


def dropped(host: str, reason: str) -> TryLater:
    """The line was lost while something was on its way."""
    error = NotFound(
        f"{host} was lost: {reason}", hint="What is here is kept; the same command goes on with it."
    )
    return TryLater(error, reason)


def circles(asked: Asked) -> NotFound:
    """One redirect leads to the next."""
    return NotFound(
        f"{asked.endpoint} sends us in circles for {asked.what}",
        hint="Try again later, or another HF_ENDPOINT.",
    )


def unsafe_redirect(asked: Asked) -> NotFound:
    """From a protected line to an unprotected one, or to something that is no address."""
    return NotFound(
        f"{asked.endpoint} sends us to an address that is not safe for {asked.what}",
        hint="Try again later, or another HF_ENDPOINT.",
    )


def bad_token(asked: Asked) -> NotFound:
    """The token is not one of the hub's."""
    return NotFound(
        "The hub does not accept your token",
        hint=f"It comes from HF_TOKEN or an earlier login. Make a new one at "
        f"{asked.endpoint}/settings/tokens, or unset it: open models need none.",
        commands=["hf auth login"],
    )


def _limited(headers: Mapping[str, str]) -> TryLater:
    error = NotFound(
        "The hub limits how often it may be asked, and does not let us in",
        hint="Try again later. Whoever is logged in may ask more often:",
        commands=["hf auth login"],
    )
    return TryLater(error, "the hub asks us to wait", after=asked_wait(headers))


def _in_trouble(status: int, headers: Mapping[str, str]) -> TryLater:
    error = NotFound(f"The hub is in trouble (HTTP {status})", hint="Try again later.")
    return TryLater(error, f"the hub is in trouble (HTTP {status})", after=asked_wait(headers))


def _refused_by_store(status: int, asked: Asked) -> TryLater:
    error = NotFound(
        f"The store to which the hub sent us does not give {asked.what} (HTTP {status})",
        hint="Try again later. Check the clock of this computer: links run out.",
    )
    return TryLater(error, f"the hub's store refuses (HTTP {status})", tries=FEW)


def _gate(asked: Asked) -> NotFound:
    if asked.has_token:
        return NotFound(
            f"{asked.repository} is gated, and the account of your token was not let in yet",
            hint=f"Agree to its terms at {asked.page} with that account; some owners then decide "
            "by hand. A fine-grained token must also be allowed to read gated repositories.",
        )
    return NotFound(
        f"{asked.repository} is gated: its owner lets in only who agreed to terms on the hub",
        hint=f"Agree to them at {asked.page}, then log in, or set HF_TOKEN:",
        commands=["hf auth login"],
    )


def _region(asked: Asked) -> NotFound:
    return NotFound(
        f"The hub does not give {asked.repository} to your region",
        hint="It decides so by network address, whoever you are; no token helps. Other models:",
        commands=["launcher list --all"],
    )


def _missing_within(code: str, asked: Asked) -> NotFound:
    if code == "EntryNotFound":
        return NotFound(
            f"There is no file {asked.file} in {asked.repository} any more",
            hint=f"See what there is at {asked.page}/tree/main, and ask again.",
        )
    return NotFound(
        f"There is no revision {asked.revision} of {asked.repository}",
        hint="Leave it out for the newest one:",
        commands=[f"launcher check hf.co/{asked.repository}"],
    )


def _missing(asked: Asked, code: str) -> NotFound:
    if asked.file and not code:
        return _missing_within("EntryNotFound", asked)
    return NotFound(
        f"There is no repository {asked.repository} on the hub, or it is private",
        hint="Check its name. A private one opens to the token of an account that may see it.",
    )


def _refused(status: int, message: str, asked: Asked) -> NotFound:
    said = message[:MAX_MESSAGE].strip() if is_clean(message) else ""
    return NotFound(
        f"The hub does not give {asked.what} to you" + (f": {said}" if said else ""),
        hint=f"HTTP {status}. Its page may say why: {asked.page}",
    )


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that an answer asks us to wait; 0 where it does not."""
    limit = _LIMIT.search(headers.get("ratelimit", ""))
    seconds = float(limit[1]) if limit else _retry_after(headers.get("retry-after", "").strip())
    return min(max(seconds, 0.0), LONGEST_ASKED_WAIT)


def _retry_after(value: str) -> float:
    """Seconds, or a date."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError, IndexError, TypeError):
        return 0.0
