"""Renders chat templates in processes of their own, within 2 seconds and 256 MiB.

A template is a program from a stranger, and a grammar is no better: it is read here first. The
worker starts a keeper before it loads the engine, while it may still start a process. The keeper
does nothing but keep a helper alive (`helper`), and give the worker a line to it. Whatever a
template does, the worker goes on, also when the helper dies. Where processes cannot be forked,
templates are rendered in the worker.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from launcher.engine.messages import Channel, Closed, Message
from launcher.engine.worker import helper, limits

_TRIES = 3  # helpers that are asked one after the other; what ends all of them is not chance
_NONE: Mapping[str, Any] = MappingProxyType({})


class Gone(Exception):
    """There is no process for templates, and none can be started: the worker is of no use."""


class Renderer:
    """The worker's way to its process for templates."""

    def __init__(self, line: socket.socket) -> None:
        """Starts it, without the worker's line to the launcher; no thread may run yet."""
        self._keeper: Channel | None = None
        self._helper: Channel | None = None
        self._template = self._expecting = ""
        self._many = 1
        if not hasattr(os, "fork"):
            return
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            line.close()
            _keep(Channel(theirs))
        theirs.close()
        self._keeper = Channel(ours, takes_files=True)

    def begin(self) -> None:
        """Has the helper get ready, now that the worker has nothing else to do.

        A helper that is asked gets ready, too, but then somebody waits for it.
        """
        if self._keeper is not None:
            with contextlib.suppress(Closed):
                self._reached(self._keeper).send({})

    def expect(self, template: str, many: int) -> None:
        """Has the template compiled that conversations will be rendered by, so many at once."""
        self._template, self._many = template, many
        if self._keeper is not None:
            with contextlib.suppress(Closed):
                self._reached(self._keeper)

    def render(
        self,
        template: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] = _NONE,
        *,
        bos: str,
        eos: str,
    ) -> Message:
        """`text`, or `cause` and `message` of what is wrong with the template.

        Raises `Gone` when there is no process for templates any more.
        """
        request = {
            "template": template,
            "messages": list(messages),
            "tools": list(tools) if tools else None,
            "variables": dict(variables),
            "bos": bos,
            "eos": eos,
        }
        return self._answer(request)

    def tried(self, grammar: str) -> str | None:
        """Why the engine may not read a grammar; None where it may.

        Empty where it could not read it: it has written why to standard error. It is not to be
        read again where there are no limits: some run out of memory, and call that a bad grammar.
        """
        reply = self._answer({"grammar": grammar})
        return None if "text" in reply else str(reply["message"])

    def _answer(self, request: Message) -> Message:
        if self._keeper is None:
            return {"text": ""} if "grammar" in request else helper.rendered(request)
        for _ in range(_TRIES):
            with contextlib.suppress(Closed):
                return self._asked(request, self._keeper)
            self._forget()
        raise Gone("the processes that render chat templates were ended from outside")

    def _asked(self, request: Message, keeper: Channel) -> Message:
        """What the helper answers. Raises `Closed` when it dies, or has died."""
        line = self._reached(keeper)
        line.send(request)
        return line.receive()[0]

    def _reached(self, keeper: Channel) -> Channel:
        """The line to the helper, which knows what to expect. Raises `Closed`."""
        if self._helper is None:
            _, files = keeper.receive()
            self._helper = Channel(socket.socket(fileno=files[0]))
            self._expecting = ""
        if self._template != self._expecting:
            self._expecting = self._template
            self._helper.send({"expect": self._template, "many": self._many})
        return self._helper

    def _forget(self) -> None:
        if self._helper is not None:
            self._helper.close()
        self._helper, self._expecting = None, ""


# --- The process that keeps the one for templates -----------------------------------------------


def _keep(channel: Channel) -> NoReturn:
    """Starts a helper whenever there is none, and gives the worker a line to it."""
    try:
        limits.end_with_parent()
        while True:
            ours, theirs = socket.socketpair()
            process = os.fork()
            if process == 0:
                ours.close()
                channel.close()
                helper.serve(Channel(theirs))
            theirs.close()
            # It waits here while the worker takes no lines: helpers that die at once do no harm.
            channel.send({}, [ours.fileno()])
            ours.close()
            os.waitpid(process, 0)
    finally:
        os._exit(0)
