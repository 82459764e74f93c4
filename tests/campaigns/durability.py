"""Is what was written still there, whole, after the worst moment to be killed?

A child writes the user's files in a loop, by the launcher's own functions, and says so after
every write; it is killed at random moments. A signal hardly ever comes in the middle of a
write, so more children are ended there: by a limit on the size of files, which kills whoever
goes beyond it when a part is written. Nothing that they said may be lost, nothing may be
half-written, and the next write must clear up. Then two writers at once, single changed
bytes, and disks that are full or may not be written to.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Never

from launcher.asker import Asker
from launcher.cli import asking
from launcher.errors import IntegrityError, LauncherError
from launcher.licensing import acceptance, declaration, records
from launcher.licensing.acceptance import Acceptance
from launcher.licensing.declaration import Declaration, Person, Stated
from launcher.licensing.records import Log
from launcher.licensing.regions import country
from launcher.models import identification
from launcher.models.identification import Identification
from launcher.paths import Places
from launcher.settings import Settings
from tests.campaigns import disks
from tests.campaigns.campaign import Campaign, Tally, spread

KILLS_PER_HOME = 10
LOG_SIZE = 256 << 10  # bytes; small, so that files are ended while they are written to
LONG = 48 << 10  # characters; a line of several pages can be cut, a short one hardly
OLD = 7200.0  # seconds; an orphan of that age belongs to nobody any more
PATIENCE = 5.0  # seconds for a writer to reach its limit
APPENDS = 500
FLIPS = 1000
_ACK = struct.Struct("<I")


def home(folder: Path) -> Places:
    """A user's folders, all below one."""
    return Places(
        config=folder / "config",
        state=folder / "state",
        cache=folder / "cache",
        data=folder / "data",
        site=folder / "site",
    )


def log(places: Places) -> Log:
    return Log(places.records, LOG_SIZE)


# --- The writers ------------------------------------------------------------------------------


def _declare(places: Places, number: int) -> None:
    here = (country("DE"),)
    made = Declaration(
        person=Person.COMPANY, domicile=here, place_of_use=here, monthly_active_users=number
    )
    settings = Settings(records="required", records_size=LOG_SIZE)
    asking.keep_declaration(Asker(places=places, settings=settings, stated=Stated()), made)


def _declared(places: Places) -> list[int]:
    """What is declared, and what was recorded of it, which is there as well."""
    found = declaration.read(places.declaration, "user")
    if found is None or found.monthly_active_users is None:
        return []
    return [found.monthly_active_users]


def _accept(places: Places, number: int) -> None:
    answer = Acceptance(
        licence="gemma",
        text_sha256="0" * 64,
        person=Person.INDIVIDUAL,
        accepted=True,
        at=str(number),
        by="option",
        texts={"terms": "0" * 64},
    )
    acceptance.add(places, answer)


def _accepted(places: Places) -> list[int]:
    return [int(answer.at) for answer in acceptance.load(places).given]


def _identify(places: Places, number: int) -> None:
    made = Identification(
        sha256=f"{number:064x}",
        family="gemma-2",
        licence="",
        reason="it was made here",
        at=str(number),
        by="user",
    )
    identification.add(places.identifications, made)


def _identified(places: Places) -> list[int]:
    return [int(made.at) for made in identification.load(places.identifications).values()]


def _record(places: Places, number: int) -> None:
    text = "x" * Random(number).choice((10, 100, 1000, LONG))
    records.append(log(places), "trial", {"count": number, "text": text})


def _recorded(places: Places) -> list[int]:
    return [record["count"] for record in records.read(log(places))]


@dataclass(frozen=True, slots=True)
class Writer:
    """One way to write, and how to read what was written."""

    write: Callable[[Places, int], None]
    read: Callable[[Places], list[int]]
    keeps_all: bool = True
    """Or only the last."""


WRITERS = {
    "declaration": Writer(_declare, _declared, keeps_all=False),
    "acceptance": Writer(_accept, _accepted),
    "identification": Writer(_identify, _identified),
    "records": Writer(_record, _recorded),
}


# --- Kills ------------------------------------------------------------------------------------


class Victims:
    """A home that children write to, and are killed over."""

    def __init__(self, name: str, places: Places, seed: int) -> None:
        self.name = name
        self.writer = WRITERS[name]
        self.places = places
        self.random = Random(seed)
        self.tally = Tally()
        self.next = 1
        self.acknowledged: set[int] = set()
        self.possible: set[int] = set()
        """What may be there without having been acknowledged: it was under way."""

    def fault(self, text: str) -> None:
        self.tally.faults.append(f"{self.name}: {text}")

    def kill_one(self) -> None:
        """Lets a child write, kills it at some moment, looks at what it left, and writes on."""
        self.tally.counts["kills"] += 1
        self._end_one(limit=0)

    def cut_one(self) -> None:
        """The same with one that dies in the middle of a write."""
        self.tally.counts["cuts"] += 1
        self._end_one(limit=self._limit())

    def _limit(self) -> int:
        """A size of files that one of ours will soon go beyond."""
        files = (path for path in self.places.config.parent.rglob("*") if path.is_file())
        size = self.random.choice([path.stat().st_size for path in files] or [0])
        return max(1, min(size + self.random.randrange(-64, 2048), LOG_SIZE - 1))

    def _end_one(self, limit: int) -> None:
        acks = self._written_until_ended(limit)
        self.tally.counts["acknowledged writes"] += len(acks)
        self.acknowledged |= set(acks)
        self.next = (acks[-1] + 1) if acks else self.next
        self.possible.add(self.next)  # it may have been under way
        self.next += 1
        try:
            self._look()
        except LauncherError as error:
            self.fault(f"what was left cannot be read: {error.message}")

    def _written_until_ended(self, limit: int) -> list[int]:
        """The numbers that the child acknowledged before it was ended."""
        theirs, ours = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(theirs)
            self._write_on(ours, limit)
        os.close(ours)
        data = b""
        if limit:
            _wait(child)
        else:
            if self.random.random() < 0.8:
                data = os.read(theirs, _ACK.size)
            time.sleep(self.random.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        while more := os.read(theirs, 1 << 16):
            data += more
        os.close(theirs)
        end = -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if end not in (signal.SIGKILL, signal.SIGXFSZ):
            self.fault("the writer ended by itself")
        self.tally.counts["cut in the middle"] += end == signal.SIGXFSZ
        whole = len(data) // _ACK.size * _ACK.size
        return [number for (number,) in _ACK.iter_unpack(data[:whole])]

    def _write_on(self, acks: int, limit: int) -> Never:
        """What the child does until it is ended."""
        try:
            if limit:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            for number in itertools.count(self.next):
                self.writer.write(self.places, number)
                os.write(acks, _ACK.pack(number))
        finally:
            os._exit(1)  # it never ends by itself

    def _look(self) -> None:
        """Before the next write: nothing is half-written. After it: all is in order."""
        torn = self._torn()
        if self.name != "records":
            self._compare(self.writer.read(self.places))
        orphans = self._temporary()
        self.tally.counts["orphans"] += len(orphans)
        for orphan in orphans[::2]:  # those that are young may belong to a writer at work
            os.utime(orphan, (time.time() - OLD,) * 2)
        self.writer.write(self.places, self.next)
        self.acknowledged.add(self.next)
        self.next += 1
        if self._temporary() != orphans[1::2]:
            self.fault("temporary files were not swept as they should be")
        for orphan in orphans[1::2]:
            orphan.unlink()
        self._compare(self.writer.read(self.places))
        self._check_records(torn)

    def _compare(self, found: list[int]) -> None:
        """What was acknowledged is there, in order, and nothing but what was written."""
        wanted = self.acknowledged
        if not self.writer.keeps_all:
            latest = max(wanted, default=0)
            if any(number < latest for number in found) or (wanted and not found):
                self.fault(f"{found} is there, but {latest} was acknowledged")
            wanted = set()
        if missing := wanted - set(found):
            self.fault(f"acknowledged, and lost: {sorted(missing)[:9]}")
        if set(found) - self.acknowledged - self.possible or found != sorted(set(found)):
            self.fault(f"not as it was written: {found[-9:]}")

    def _temporary(self) -> list[Path]:
        return sorted(self.places.config.glob(".*.tmp"))

    def _torn(self) -> bool:
        """Whether the records end in the middle of one."""
        if not self.places.records.exists():
            return False
        data = self.places.records.read_bytes()
        torn = bool(data) and not data.endswith(b"\n")
        self.tally.counts["torn records"] += torn
        return torn

    def _check_records(self, torn: bool) -> None:
        """One chain; what was cut lies beside it."""
        if self.name not in ("records", "declaration"):
            return
        chain = records.verify(log(self.places))
        if torn and not chain.torn:
            self.fault("a torn record was not set aside")
        if self.name == "declaration":
            found = [
                record["declaration"]["monthly_active_users"]
                for record in records.read(log(self.places))
            ]
            if lost := self.acknowledged - set(found):
                self.fault(f"acknowledged, and not recorded: {sorted(lost)[:9]}")


def _wait(child: int) -> None:
    """Until it has ended by itself, or for so long."""
    deadline = time.monotonic() + PATIENCE
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while os.waitid(os.P_PID, child, ended) is None and time.monotonic() < deadline:
        time.sleep(0.001)


def kills(name: str, seed: int, count: int) -> Tally:
    """Kills the writer of a name so many times, over one home, and cuts half as many short."""
    with tempfile.TemporaryDirectory() as folder:
        victims = Victims(name, home(Path(folder)), seed)
        for number in range(count):
            victims.kill_one()
            if number % 2:
                victims.cut_one()
    return victims.tally


# --- Two at once ------------------------------------------------------------------------------


def two_writers(count: int) -> Tally:
    """Two processes append so many records each: one chain of all of them, each in order."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        places = home(Path(folder))
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_append, args=(places, who, count)) for who in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        chain = records.verify(log(places)).count
        found = [(record["who"], record["count"]) for record in records.read(log(places))]
    for who in range(2):
        if [number for each, number in found if each == who] != list(range(count)):
            tally.faults.append(f"writer {who} lost records, or their order")
    tally.counts["records of two writers"] = chain
    if chain != 2 * count:
        tally.faults.append(f"{chain} records in the chain of two writers, not {2 * count}")
    return tally


def _append(places: Places, who: int, count: int) -> None:
    for number in range(count):
        records.append(log(places), "trial", {"who": who, "count": number})


# --- One changed byte -------------------------------------------------------------------------


def flips(seed: int, count: int) -> Tally:
    """Changes one byte anywhere in a chain of records, so many times: it must show."""
    tally, random = Tally(), Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        kept = Log(home(Path(folder)).records, 8192)
        for number in range(40):
            body = {"count": number, "text": "ü" * random.randrange(300), "share": number / 7}
            records.append(kept, "trial", body)
        files = [*records.older(kept), kept.path]
        whole = [path.read_bytes() for path in files]
        assert records.verify(kept).count == 40
        for _ in range(count):
            which = random.choices(range(len(files)), [len(data) for data in whole])[0]
            place = random.randrange(len(whole[which]))
            data = bytearray(whole[which])
            data[place] ^= random.randrange(1, 256)
            files[which].write_bytes(data)
            tally.counts["changed bytes"] += 1
            try:
                records.verify(kept)
                tally.faults.append(f"byte {place} of {files[which].name} was changed, unseen")
            except IntegrityError:
                tally.counts["changed bytes that showed"] += 1
            files[which].write_bytes(whole[which])
    return tally


# --- The campaign -----------------------------------------------------------------------------


def run(seed: int, count: int) -> Iterator[Tally]:
    """Kills every writer `count` times, and does the rest once."""
    shares: list[Callable[[], Tally]] = [
        partial(kills, name, seed * 1_000_000 + start, min(KILLS_PER_HOME, count - start))
        for start in range(0, count, KILLS_PER_HOME)
        for name in WRITERS
    ]
    yield two_writers(APPENDS)
    shares.append(partial(flips, seed, FLIPS))
    yield from spread(done, shares)
    yield disks.trouble()
    yield disks.on_a_full_disk()


def done(share: Callable[[], Tally]) -> Tally:
    """A share that knows what it is about."""
    return share()


def summary(counts: Counter[str]) -> str:
    return (
        f"{counts['kills']} kills and {counts['cut in the middle']} ends in the middle of a write, "
        f"over {counts['acknowledged writes']} acknowledged writes, "
        f"{counts['orphans']} temporary files and {counts['torn records']} torn records left "
        f"behind; {counts['records of two writers']} records of two writers; "
        f"{counts['changed bytes that showed']} of {counts['changed bytes']} changed bytes shown; "
        f"{counts['calls']} calls on disks in trouble, "
        f"{counts['calls on a full file system']} of them on a full file system"
    )


def fails(counts: Counter[str]) -> str:
    """A proof in which nobody was ended at a bad moment is none."""
    if not counts["orphans"] or not counts["torn records"]:
        return "no writer left anything half-written behind"
    return ""


CAMPAIGN = Campaign(
    about="Nothing acknowledged is lost, nothing is half-written.",
    count=600,
    run=run,
    summary=summary,
    fails=fails,
)
