"""What the worker says when something fails, and how it ends, as errors with a remedy."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from launcher.engine.messages import Message
from launcher.errors import (
    ContextFull,
    DoesNotFit,
    EngineDied,
    IntegrityError,
    LauncherError,
    TemplateFailed,
    Unanswerable,
    Unsupported,
)
from launcher.models import drafts
from launcher.models.bundle import Bundle, Part

REBUILD = "launcher doctor --rebuild"
_BAD_GRAMMAR = "error parsing grammar: "
_SMALLER = "Try a shorter context (--ctx-size), a smaller model or quant."
# What Python, C++, ggml and OpenMP say when they are refused memory.
_NO_MEMORY = (
    "MemoryError",
    "bad_alloc",
    "out of memory",
    "failed to allocate",
    "unable to allocate",
    "Cannot allocate",
    "mem_buffer != NULL",
    "could not reserve space",
    "can't start new thread",
    "Thread creation failed",
)
_NO_ROOM = re.compile(r"failed to map segment from shared object(?!: )")


def not_confined(level: str) -> Unsupported:
    """That the sandbox was insisted on where there is none."""
    if level == "device":
        return Unsupported(
            "With layers on a graphics device the engine can be confined but for its driver, and "
            "--require-sandbox was given",
            hint="Without a device it can be confined fully: -ngl 0. Nothing was loaded.",
        )
    reached = {"partial": "only in part", "none": "not at all"}[level]
    return Unsupported(
        f"The engine can be confined {reached} on this system, and --require-sandbox was given",
        hint="It takes Linux 5.13 or newer with Landlock and seccomp. Nothing was loaded.",
    )


def load_error(bundle: Bundle, reply: Message) -> LauncherError:
    """The engine's own words on a failed load, sorted by what can be done about it."""
    words: str = reply["message"]
    if reply["kind"] == "sandbox":
        return not_confined(words)
    parts = bundle.sets[reply["at"]]
    if reply["kind"] == "unsuitable":
        return drafts.misfit(parts[0], words)
    return _load_error(parts, words)


def _load_error(parts: Sequence[Part], words: str) -> LauncherError:
    name, last = parts[0].name, _telling(words)
    if "unknown model architecture" in words:
        line = _first(words, "unknown model architecture")
        return Unsupported(f"The engine cannot run {name}: {line}")
    if "unknown projector type" in words:
        return Unsupported(f"The engine does not know the kind of projector in {name}")
    if _lacks_memory(words):
        return DoesNotFit(
            f"There was not enough memory to load {name}",
            hint=_SMALLER,
        )
    if len(parts) > 1 and "split" in words:
        return IntegrityError(f"The shards of {name} do not belong together: {last}")
    return IntegrityError(
        f"The engine could not load {name}: {last}",
        hint="The file is damaged or incomplete. Get it again from where it came from.",
    )


def _lacks_memory(words: str) -> bool:
    # The dynamic linker names no cause where a library finds no room; else it names one.
    return any(said in words for said in _NO_MEMORY) or _NO_ROOM.search(words) is not None


def _telling(words: str) -> str:
    """The line that says what was wrong, not the one that says that something was."""
    lines = words.splitlines()
    causes = [line for line in lines if "error loading model" in line]
    line = (causes or lines or ["it gave no reason"])[-1]
    return line.partition("error loading model: ")[2] or line


def _first(words: str, wanted: str) -> str:
    return next((line for line in words.splitlines() if wanted in line), wanted)


def generation_error(reply: Message, last_words: str) -> LauncherError:
    """Why there is no answer, sorted by what can be done about it."""
    if reply["kind"] == "grammar":
        said = [line for line in last_words.splitlines() if _BAD_GRAMMAR in line]
        why = reply["message"] or (said or ["it is none"])[-1].rpartition(_BAD_GRAMMAR)[2]
        why = "it asks for too much memory" if _lacks_memory(why) else why
        return Unanswerable(f"The grammar or JSON schema cannot be used: {why}")
    if reply["kind"] == "prompt":
        return Unanswerable(_sentence(reply["message"]))
    if reply["kind"] == "context":
        return ContextFull(
            _sentence(reply["message"]),
            hint="Use a longer context (--ctx-size), or a shorter text. Nothing was cut off.",
        )
    if reply["kind"] == "template":
        return _template_error(reply["cause"], reply["message"], given=reply["given"])
    if reply["kind"] == "image":
        return IntegrityError(_sentence(reply["message"]))
    if _lacks_memory(reply["message"]):
        return DoesNotFit("There was not enough memory to answer", hint=_SMALLER)
    return LauncherError(f"The engine could not answer: {reply['message']}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _template_error(cause: str, message: str, *, given: bool) -> LauncherError:
    if cause == "refused":
        return Unanswerable(_sentence(message))
    if given:
        return Unanswerable(message.replace("the model's", "The given", 1))
    return TemplateFailed(
        _sentence(message),
        hint="The template is a part of the model's file. Get the file from elsewhere.",
    )


def nonsense() -> EngineDied:
    """That the worker speaks, but not as agreed, or does not end when it has hung up."""
    return EngineDied(
        "The engine sends what is no answer",
        hint="The file may be made to do this. Nothing else was harmed.",
    )


def died(status: int, last_words: str) -> EngineDied:
    """The worker's end as a sentence and a remedy."""
    last = last_words.splitlines()[-1] if last_words else ""
    if _lacks_memory(last_words):
        return _out_of_memory(f" and was ended by {_name(-status)}" if status < 0 else "")
    if status >= 0:
        return EngineDied(f"The engine ended unexpectedly: {last or f'exit code {status}'}")
    name = _name(-status)
    if name == "SIGKILL":
        return EngineDied(
            "The engine was ended by SIGKILL, most likely because the system ran out of memory",
            hint=_SMALLER,
        )
    if name == "SIGILL":
        return EngineDied(
            "The engine was ended by SIGILL: it was built with instructions that fail on this "
            "processor",
            hint="Build it again with those switched off:",
            commands=[REBUILD],
        )
    return EngineDied(
        f"The engine was ended by {name}{f': {last}' if last else ''}",
        hint="The file may be damaged or made to do this, or the engine badly built. Nothing "
        "else was harmed. If other files die, too, build the engine again:",
        commands=[REBUILD],
    )


def _out_of_memory(how: str) -> EngineDied:
    return EngineDied(f"The engine ran out of memory{how}", hint=_SMALLER)


def _name(number: int) -> str:
    """A signal's name."""
    return signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
