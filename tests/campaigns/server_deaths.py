"""A worker that is killed under load, again and again: who is told what, and does it come back?

Clients ask the real server for answers without a pause. Each gets the whole answer, the same as
ever, or is told that it will get none; the server lives on, and no process is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import httpx

from tests.campaigns.campaign import Campaign, Tally
from tests.engine.processes import ended, family
from tests.serving.running import MODEL, Running, running

SIGNALS = ("SIGILL", "SIGSEGV", "SIGABRT", "SIGKILL")
QUESTIONS = ("Why is the sky blue?", "Name five fruits.", "Who wrote Hamlet?")
CLIENTS = 6
COUNT = 40  # tokens of an answer
LIMIT = 60.0  # seconds for whatever is waited for
LONGEST = 4.0  # seconds that a worker answers before it is killed; some answers end before
PAUSES = (0.05, 0.2)  # seconds before a worker is started again
TOLD = {"engine_died", "loading_again"}  # the codes for it


class Clients:
    """Threads that ask until they are told to stop."""

    def __init__(self, server: Running, expected: dict[str, str]) -> None:
        self.tally = Tally()
        self._server, self._expected = server, expected
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> Tally:
        self._stop.set()
        for thread in self._threads:
            thread.join(LIMIT)
            if thread.is_alive():
                self.tally.faults.append("a client never got an answer")
        return self.tally

    def _ask(self, number: int) -> None:
        question = QUESTIONS[number % len(QUESTIONS)]
        with httpx.Client(timeout=LIMIT) as client:
            while not self._stop.is_set():
                try:
                    text, code = asked(client, self._server, question)
                except httpx.HTTPError as error:
                    self.tally.faults.append(f"the server did not answer: {error!r}")
                    return
                if code:
                    self._note(code in TOLD, "told", f"a client was told {code}")
                    time.sleep(0.05)
                else:
                    whole = text == self._expected[question]
                    self._note(whole, "whole answers", f"another answer: {text[:80]!r}")

    def _note(self, fine: bool, kind: str, fault: str) -> None:
        self.tally.counts[kind] += 1
        if not fine:
            self.tally.faults.append(fault)


def asked(client: httpx.Client, server: Running, question: str) -> tuple[str, str]:
    """The text of a streamed answer, and the code of the error that ended it, if one did."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": True}
    wish = {**body, "max_tokens": COUNT, "temperature": 0}
    text, ends = "", ""
    with client.stream("POST", f"{server.url}/v1/chat/completions", json=wish) as answer:
        if answer.status_code != 200:
            return "", str(json.loads(answer.read())["error"]["code"])
        for line in answer.iter_lines():
            ends = line or ends
            if line.startswith("data: {"):
                piece = json.loads(line.removeprefix("data: "))
                if "error" in piece:
                    return text, str(piece["error"]["code"])
                text += "".join(each["delta"].get("content") or "" for each in piece["choices"])
    return (text, "") if ends == "data: [DONE]" else (text, "a stream that just ends")


def run(seed: int, count: int) -> Iterator[Tally]:
    """Kills the worker so many times under load."""
    with tempfile.TemporaryDirectory() as home, running(Path(home), pauses=PAUSES) as server:
        with httpx.Client(timeout=LIMIT) as client:
            expected = {question: asked(client, server, question)[0] for question in QUESTIONS}
        clients = Clients(server, expected)
        for number in range(count):
            yield struck(server, Random(f"{seed}/{number}"))
        yield clients.end()


def struck(server: Running, lot: Random) -> Tally:
    """Waits until the worker answers, and kills it."""
    tally = Tally()
    served = server.fleet.served(MODEL)
    deaths = served.deaths
    if not became(lambda: served.engine is not None and served.engine.asked > 0):
        tally.faults.append("the worker did not come back")
        return tally
    time.sleep(lot.uniform(0, LONGEST))
    engine = served.engine
    assert engine is not None
    processes = family(engine.pid)
    name = lot.choice(SIGNALS)
    os.kill(engine.pid, signal.Signals[name])
    tally.counts[name] += 1
    if not ended(*processes):
        tally.faults.append(f"after {name} some of the processes {processes} are left")
    if not became(lambda: served.deaths > deaths):
        tally.faults.append(f"{name} was not noticed")
    return tally


def became(holds: Callable[[], bool]) -> bool:
    """Waits until something is so."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def summary(counts: Counter[str]) -> str:
    """One line with the figures."""
    deaths = sum(counts[name] for name in SIGNALS)
    return (
        f"{deaths} workers killed under load; {counts['whole answers']} whole answers, "
        f"{counts['told']} clients told that there is none"
    )


CAMPAIGN = Campaign(
    about="a server whose worker is killed under load: nobody gets less than is said",
    count=50,
    run=run,
    summary=summary,
    fails=lambda counts: "" if counts["whole answers"] and counts["told"] else summary(counts),
)
