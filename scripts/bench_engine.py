#!/usr/bin/env python3
"""launcher against llama.cpp's own tools, side by side; prints rows of a Markdown table.

    scripts/build-peers FOLDER
    scripts/bench engine FOLDER/build/bin MODEL.gguf... [--rounds 15] [--threads N]
                         [--only decode,prefill,process,memory] [--accept LICENCE]
                         [--memory-as-it-is]

Ours and theirs take turns, and who is first changes with each round; they get the same file
(a copy that nobody else has in use), threads, batch sizes, context and flash attention. A
figure is the ratio of the medians, its interval the middle 95 % of 4,000 resamplings of the
rounds. Speeds are better above 1; time and memory below.

The host of a virtual machine may take back memory that is free for some seconds, and whoever is
first to use it again waits for each large page. So before each whole process another takes that
memory and gives it back, for both sides alike; with `--memory-as-it-is` none does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures import WHO, WORDS, Figure, paired, row

from launcher import flow, settings
from launcher.asker import Asker, Request
from launcher.engine import machine
from launcher.engine.client import Done, Engine, Worker
from launcher.engine.fit import Wishes
from launcher.engine.worker import template
from launcher.licensing.declaration import Stated, who
from launcher.models import gguf
from launcher.paths import places

QUESTION = "Write a long story about a fox and a hen who travel around the world."
CONTEXT = 4096  # tokens
DECODED = 96  # tokens in a round
READ = 420  # words of the prompt whose reading is timed; more than 512 tokens
ANSWER = 32  # tokens of the whole process
PAUSE = 0.004  # seconds between two looks at the memory
LARGE_PAGE = 2 << 20  # bytes
GREEDY = {"temperature": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """llama.cpp's tools, and the model that both sides run."""

    tools: Path
    model: Path
    threads: int
    warms: bool = True
    """Whether memory is got back from a host before each process."""

    def speed(self, *arguments: object) -> float:
        """Tokens per second by llama-bench."""
        command = [
            *(self.tools / "llama-bench", "-m", self.model, "-t", self.threads, "-r", 1),
            *("-fa", "auto", "-b", 2048, "-ub", 512, "-o", "json"),
            *arguments,
        ]
        done = subprocess.run([str(word) for word in command], capture_output=True, check=True)
        return float(json.loads(done.stdout)[0]["avg_ts"])

    def process(self, prompt: str) -> list[str]:
        """llama-completion for one answer."""
        command = [
            *(self.tools / "llama-completion", "-m", self.model, "-t", self.threads),
            *("-c", CONTEXT, "-n", ANSWER, "--temp", 0, "-no-cnv", "-p", prompt),
        ]
        return [str(word) for word in command]


# --- Speed --------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(peer: Peer) -> Iterator[Engine]:
    """The model in our engine, by the whole way through the gate."""
    folders = places()
    asker = Asker(places=folders, settings=settings.load(folders), stated=Stated(who=who(WHO)))
    wishes = Wishes(context=CONTEXT, threads=peer.threads)
    with flow.judged(Request(model=str(peer.model)), asker) as judgement:
        cleared = flow.clear(judgement, wishes, asker)
        with contextlib.closing(Worker()) as worker, Engine(cleared, worker) as engine:
            yield engine


def ask(engine: Engine, question: str, tokens: int) -> Done:
    messages = [{"role": "user", "content": question}]
    for event in engine.generate(messages, sampling=GREEDY, max_tokens=tokens, guesses=False):
        if isinstance(event, Done):
            return event
    raise AssertionError("an answer without an end")


def decode(engine: Engine, peer: Peer, rounds: int) -> Figure:
    """Tokens per second of an answer; the first comes with the prompt and costs no step."""
    before = ask(engine, QUESTION, 1).prompt_tokens

    def ours() -> float:
        done = ask(engine, QUESTION, DECODED + 1)
        if done.tokens != DECODED + 1:
            raise SystemExit(f"the answer ended after {done.tokens} tokens")
        return DECODED / done.seconds

    return paired(rounds, ours, lambda: peer.speed("-p", 0, "-n", DECODED, "-d", before))


def prefill(engine: Engine, peer: Peer, rounds: int) -> Figure:
    """Tokens per second of a prompt, of which nothing is in the cache but its template."""
    chance = random.Random(2)

    def question() -> str:
        return " ".join(chance.choices(WORDS, k=READ))

    def ours() -> float:
        done = ask(engine, question(), 1)
        return done.prompt_computed / done.prompt_seconds

    count = ask(engine, question(), 1).prompt_computed
    return paired(rounds, ours, lambda: peer.speed("-p", count, "-n", 0))


# --- The whole process --------------------------------------------------------------------------


def ours_command(peer: Peer) -> list[str]:
    command = [
        *(sys.executable, "-m", "launcher", "run", peer.model, QUESTION, "--as", WHO),
        *("-t", peer.threads, "-c", CONTEXT, "-n", ANSWER, "--temp", 0),
    ]
    return [str(word) for word in command]


def rendered(peer: Peer) -> str:
    """The prompt as our worker makes it of the question."""
    with peer.model.open("rb") as stream:
        size = peer.model.stat().st_size
        header = gguf.read_header(lambda at, count: os.pread(stream.fileno(), count, at), size)
    source = header.text("tokenizer.chat_template") or "{{ messages[0].content }}"
    messages = [{"role": "user", "content": QUESTION}]
    return template.render(source, messages, bos="", eos="")


def timed(command: list[str], memory: int) -> float:
    """Seconds of a process, from its start to its end; `memory`: bytes to be had at once."""
    if memory:
        subprocess.run([sys.executable, __file__, "--take", str(memory)], check=True)
    start = time.perf_counter()
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=-3, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def process(peer: Peer, rounds: int) -> Figure:
    ours, theirs = ours_command(peer), peer.process(rendered(peer))
    size = 3 * peer.model.stat().st_size if peer.warms else 0
    return paired(rounds, lambda: timed(ours, size), lambda: timed(theirs, size))


def take(size: int) -> None:
    """Uses so many bytes of memory, in large pages where there are such."""
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, LARGE_PAGE):
            memory[at] = 1


def memory(peer: Peer, rounds: int) -> Figure:
    ours, theirs = ours_command(peer), peer.process(rendered(peer))
    return paired(rounds, lambda: peak(ours), lambda: peak(theirs))


def peak(command: list[str]) -> float:
    """The most memory that a process and all that it starts have at once, in megabytes.

    Proportional set sizes: what several of them share counts once.
    """
    most = 0.0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=-3, stderr=subprocess.DEVNULL
    ) as running:
        while running.poll() is None:
            most = max(most, sum(map(_resident, _family(running.pid))))
            time.sleep(PAUSE)
    return most


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from _family(int(child))


def _resident(pid: int) -> float:
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        if found:
            return int(found[1]) / 1024
    return 0.0


# --- All of it ----------------------------------------------------------------------------------

UNITS = {"decode": "tokens/s", "prefill": "tokens/s", "process": "s", "memory": "MB"}


def figures(peer: Peer, wanted: list[str], rounds: int) -> Iterator[tuple[str, Figure]]:
    speeds = {"decode": decode, "prefill": prefill}
    if set(wanted) & set(speeds):
        with opened(peer) as engine:
            for name in wanted:
                if name in speeds:
                    yield name, speeds[name](engine, peer, rounds)
    for name, measure in (("process", process), ("memory", memory)):
        if name in wanted:
            yield name, measure(peer, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tools", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=machine.processors())
    parser.add_argument("--only", default=",".join(UNITS))
    parser.add_argument("--accept", action="append", default=[], help="a licence the models need")
    parser.add_argument("--memory-as-it-is", action="store_true")
    arguments = parser.parse_args()
    processor = f"{machine.processor_name()}, {machine.processors()} processors"
    print(f"{processor}, {arguments.threads} threads, {arguments.rounds} rounds\n")
    print("| figure | model | launcher | llama.cpp | ratio | 95 % |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        os.environ["LAUNCHER_HOME"] = str(Path(name, "home"))
        os.environ["LAUNCHER_NO_CALIBRATION"] = "1"  # both compute with the same settings
        for licence in arguments.accept:
            accept = [sys.executable, "-m", "launcher", "licences", "accept", licence, "--as", WHO]
            subprocess.run(accept, check=True, stdout=subprocess.DEVNULL)
        for model in arguments.models:
            copy = Path(shutil.copy(model, name))
            peer = Peer(tools=arguments.tools, model=copy, threads=arguments.threads)
            peer = replace(peer, warms=not arguments.memory_as_it_is)
            for title, figure in figures(peer, arguments.only.split(","), arguments.rounds):
                print(row(model.stem, title, UNITS[title], figure), flush=True)
            copy.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--take"]:
        take(int(sys.argv[2]))
    else:
        main()
