#!/usr/bin/env python3
"""The server against llama.cpp's own, through HTTP; prints rows of a Markdown table.

    scripts/bench serve MODEL.gguf --peers FOLDER [--rounds 7] [--only one,eight,...]
    scripts/bench serve MODEL.gguf --soak 600

Both are started with 8 slots of the same size and take turns, with a figure as in bench_engine.py.
`one`, `eight`: tokens/s of so many clients at once that stream, all answers together. `first`:
seconds until the last of 8 clients has its first token. `prefix`: the same, of 8 clients whose
system prompt of 1,000 tokens is the same, which neither server has seen. `rest`: memory of the
server's process before any model is loaded (MiB). `--soak`: 32 clients that ask again and again
for so many seconds; needs no peer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures import WHO, WORDS, Figure, paired, row

SLOTS = 8
CONTEXT = 2048  # tokens, in each slot
COUNT = 64  # tokens of an answer
QUESTION = "Write a long story about a fox and a hen who travel around the world."
SHARED = 760  # words of the system prompt; about 1,000 tokens
CROWD = 32  # clients of the soak
PATIENCE = 120  # seconds for a server to be ready
KIBIBYTE = 1024


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    port: int
    process: int
    model: str


@dataclass(frozen=True)
class Heard:
    """What a client got."""

    first: float
    """Seconds to the first token."""
    seconds: float
    tokens: int


# --- Servers ------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], port: int, model: str, home: str) -> Iterator[Server]:
    """A server's process, until the block is left."""
    environment = {**os.environ, "LAUNCHER_HOME": home}
    with Path(home, f"{port}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(Path(home, f"{port}.log").read_text(errors="replace"))
                time.sleep(0.1)
            yield Server(port, process.pid, model)
        finally:
            process.terminate()
            process.wait(30)


def is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200
        )
    return False


def ours(model: Path, threads: int, home: str) -> contextlib.AbstractContextManager[Server]:
    port = free_port()
    command = [sys.executable, "-m", "launcher", "serve", str(model), "--as", WHO]
    command += ["--port", str(port), "--parallel", str(SLOTS), "--ctx-size", str(CONTEXT)]
    return started([*command, "--threads", str(threads)], port, model.stem, home)


def theirs(
    model: Path, threads: int, home: str, peers: Path
) -> contextlib.AbstractContextManager[Server]:
    port = free_port()
    command = [str(peers / "llama-server"), "-m", str(model), "--port", str(port), "--no-webui"]
    command += ["-np", str(SLOTS), "-c", str(SLOTS * CONTEXT), "-t", str(threads)]
    return started([*command, "--log-disable"], port, model.stem, home)


# --- Clients ------------------------------------------------------------------------------------


async def asked(server: Server, messages: list[dict[str, str]], count: int = COUNT) -> Heard:
    """One streamed answer, over a connection of its own."""
    body = {"model": server.model, "messages": messages, "max_tokens": count, "temperature": 0}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + data)
    first, last = 0.0, b""
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit((await reader.read()).decode(errors="replace"))
    async for line in reader:
        if line.startswith(b"data: {"):
            last = line
            if not first and re.search(rb'"content":\s*"[^"]', line):
                first = time.perf_counter() - began
    writer.close()
    tokens = json.loads(last.removeprefix(b"data: "))["usage"]["completion_tokens"]
    return Heard(first, time.perf_counter() - began, tokens)


def question(chance: random.Random) -> list[dict[str, str]]:
    """One that no server has seen."""
    return [{"role": "user", "content": f"{words(chance, 4)}. {QUESTION}"}]


def words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(WORDS, k=count))


async def at_once(server: Server, many: list[list[dict[str, str]]]) -> tuple[list[Heard], float]:
    began = time.perf_counter()
    heard = await asyncio.gather(*(asked(server, messages) for messages in many))
    return heard, time.perf_counter() - began


class Rounds:
    """Measures one thing on both servers: the same questions for both, new ones each round."""

    def __init__(self, name: str, clients: int, system: int = 0) -> None:
        self.name, self._clients, self._system = name, clients, system
        self._turns: dict[int, int] = {}

    def measured(self, server: Server, value: Callable[[list[Heard], float], float]) -> float:
        turn = self._turns[server.port] = self._turns.get(server.port, 0) + 1
        chance = random.Random(f"{self.name} {turn}")
        beginning = words(chance, self._system)
        many = [question(chance) for _ in range(self._clients)]
        if beginning:
            many = [[{"role": "system", "content": beginning}, *each] for each in many]
        heard, seconds = asyncio.run(at_once(server, many))
        return value(heard, seconds)


def speed(heard: list[Heard], seconds: float) -> float:
    return sum(each.tokens for each in heard) / seconds


def slowest(heard: list[Heard], _: float) -> float:
    return max(each.first for each in heard)


MEASURES: dict[str, tuple[Rounds, Callable[[list[Heard], float], float], str, str]] = {
    "one": (Rounds("one", 1), speed, "1 client, streamed", "tokens/s"),
    "eight": (Rounds("eight", 8), speed, "8 clients together", "tokens/s"),
    "first": (Rounds("first", 8), slowest, "slowest first token of 8", "s"),
    "prefix": (Rounds("prefix", 8, SHARED), slowest, "the same, with a system prompt", "s"),
}


def compared(name: str, us: Server, them: Server, rounds: int) -> Figure:
    measure, value, _, _ = MEASURES[name]
    return paired(
        rounds, lambda: measure.measured(us, value), lambda: measure.measured(them, value)
    )


# --- Memory and patience ------------------------------------------------------------------------


def resident(process: int) -> float:
    """MiB of a process, without its children."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)[1]) / KIBIBYTE  # type: ignore[index]  # Linux always has it


def of_all(process: int) -> float:
    """MiB of a process and all that it has started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    threads = [Path(path, "children") for path in Path(f"/proc/{process}/task").iterdir()]
    found = {int(each) for path in threads for each in path.read_text().split()}
    found |= {int(each) for each in children}
    return resident(process) + sum(of_all(each) for each in found)


async def soaked(server: Server, seconds: float) -> None:
    """Prints what 32 clients met that asked again and again."""
    heard: list[Heard] = []
    memory: list[float] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            heard.append(await asked(server, question(chance), chance.randrange(8, COUNT)))

    async def watch() -> None:
        while time.monotonic() < end:
            memory.append(of_all(server.process))
            await asyncio.sleep(seconds / 20)

    waiting: list[Coroutine[Any, Any, None]] = [client(number) for number in range(CROWD)]
    began = time.perf_counter()
    await asyncio.gather(*waiting, watch())
    spent = time.perf_counter() - began
    firsts = sorted(each.first for each in heard)
    print(f"answers: {len(heard)}, all of them whole; {sum(e.tokens for e in heard) / spent:.0f}")
    print("tokens/s together; first token: median", f"{statistics.median(firsts):.2f} s,")
    print(f"99 of 100 within {firsts[int(len(firsts) * 0.99)]:.2f} s, last {firsts[-1]:.2f} s")
    print("memory of all processes over time (MiB):", *(f"{value:.0f}" for value in memory))


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default=",".join((*MEASURES, "rest")))
    parser.add_argument("--soak", type=float, default=0.0, help="seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        us = stack.enter_context(ours(given.model, given.threads, home))
        if "rest" in given.only:
            print(f"| server at rest | | {resident(us.process):.0f} MiB | | | |", flush=True)
        if given.soak:
            asyncio.run(soaked(us, given.soak))
            return
        if given.peers is None:
            raise SystemExit("--peers says where llama-server is; scripts/build-peers builds it")
        them = stack.enter_context(theirs(given.model, given.threads, home, given.peers))
        for name in (name for name in given.only.split(",") if name in MEASURES):
            figure = compared(name, us, them, given.rounds)
            _, _, title, unit = MEASURES[name]
            print(row(given.model.stem, title, unit, figure), flush=True)


if __name__ == "__main__":
    main()
