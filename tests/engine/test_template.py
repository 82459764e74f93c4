"""Chat templates that hurt, in the real worker: nothing is executed, and it goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.asker import Asker
from launcher.engine.client import Done, Engine, Worker
from launcher.errors import EngineDied, IntegrityError, LauncherError
from tests.engine.conftest import GREEDY, cleared_file
from tests.engine.processes import children, ended
from tests.headers import SMALL, statements, write_model

LIMIT = 3.0  # seconds

TOO_MUCH = {
    "loop": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loop that prints": "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
    "a power that takes for ever": "{% set n = 9 %}{{ n ** (n ** n) }}",
    "4 GiB": "{{ 'x' * 4294967296 }}",
    "4 GiB in steps": "{% set x = 'x' * 65536 %}{{ (x * 65536) | length }}",
    "doubling": "{% set n = namespace(x='xxxxxxxx') %}{% for i in range(40) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}{{ n.x | length }}",
    "a wide number": "{{ '%2000000000d' % 1 }}",
    "a wide format": "{{ '{:>2000000000}'.format(1) }}",
    "recursion": "{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}",
    "recursion in a loop": "{% for m in [[1]] recursive %}{{ loop([m]) }}{% endfor %}",
    "long text": "{{ 'word ' * 200000 }}",
}

# What is known to have led out of such sandboxes; MARK is a file that must not come to be.
INJECTED = {
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "cycler": "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "lipsum": "{{ lipsum.__globals__['os'].popen('touch MARK').read() }}",
    "itself": "{{ self.__init__.__globals__.__builtins__.__import__('os').system('touch MARK') }}",
    "attr": "{{ (lipsum | attr('__globals__'))['os'].system('touch MARK') }}",
    "attr of format": "{{ ('{0.__globals__[os].environ}' | attr('format'))(lipsum) }}",
    "format": "{{ '{0.__globals__[os].environ}'.format(lipsum) }}",
    "format, kept": "{% set f = '{0.__globals__[os].environ}'.format %}{{ f(lipsum) }}",
    "format_map": "{{ '{a.__globals__}'.format_map({'a': lipsum}) }}",
    "map": "{{ [lipsum] | map(attribute='__globals__') | list | join }}{{ joiner.mro() }}",
    "our function": "{{ raise_exception.__globals__['json'].codecs.open('MARK', 'w') }}",
    "our clock": "{{ strftime_now.__globals__['json'].codecs.sys.modules['os'].getpid() }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os.system('touch MARK') }}",
    "escaped": "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'].mro()[1]['\\x5f\\x5fsubclasses\\x5f\\x5f']() }}",
    "changed input": "{{ messages.append({'role': 'system', 'content': 'x'}) }}",
    "generator": "{% for x in (messages | map('upper')) %}{{ x.gi_frame.f_globals }}{% endfor %}"
    "{{ (messages | map('string')).gi_frame.f_back.f_globals['os'].system('touch MARK') }}",
}


def all_in_one(mark: Path) -> str:
    """One template that does what the first message says; else it is a good one."""
    parts: list[str] = []
    for name, payload in {**TOO_MUCH, **INJECTED}.items():
        word = "elif" if parts else "if"
        parts.append(f"{{% {word} messages[0].content == '{name}' %}}{payload}")
    text = "".join(parts).replace("MARK", str(mark))
    refusal = "{% elif messages[0].content == 'refuse' %}{{ raise_exception('only cats') }}"
    return text + refusal + "{% else %}{{ messages[0].content }}{% endif %}"


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mark") / "executed"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, mark: Path) -> Path:
    chat = {"tokenizer.chat_template": all_in_one(mark)}
    path = tmp_path_factory.mktemp("model") / "hostile.gguf"
    return write_model(path, SMALL, metadata=statements(license="mit") | chat)


@pytest.fixture
def engine(hostile: Path, asker: Asker) -> Iterator[Engine]:
    with (
        cleared_file(hostile, asker, context=512) as found,
        contextlib.closing(Worker(require_sandbox=True)) as worker,
        Engine(found, worker) as engine,
    ):
        yield engine


def ask(engine: Engine, text: str) -> Done:
    question = [{"role": "user", "content": text}]
    *_, done = engine.generate(question, sampling=GREEDY, max_tokens=2)
    assert isinstance(done, Done)
    return done


def test_a_template_that_asks_for_too_much_is_ended_and_the_worker_goes_on(engine: Engine) -> None:
    for name in TOO_MUCH:
        started = time.monotonic()
        with pytest.raises(LauncherError) as caught:
            ask(engine, name)
        assert time.monotonic() - started < LIMIT, name
        if name == "long text":
            assert "at least" in caught.value.message
        else:
            assert caught.value.exit_code == 6, name
            assert caught.value.message.startswith("The model's chat template"), name
    assert ask(engine, "hello").tokens > 0


def test_nothing_that_is_injected_is_executed_or_shown(engine: Engine, mark: Path) -> None:
    refused = []
    for name in INJECTED:
        started = time.monotonic()
        try:
            done = ask(engine, name)
            assert done.prompt_tokens <= 2, name  # what it tried to show is not in the prompt
        except IntegrityError:
            refused.append(name)
        assert time.monotonic() - started < LIMIT, name
        assert not mark.exists(), name
    assert ask(engine, "hello").tokens > 0
    assert set(INJECTED) - set(refused) <= {"format_map"}  # which comes out empty


def test_a_template_that_objects_is_not_called_broken(engine: Engine) -> None:
    with pytest.raises(LauncherError, match="refuses this conversation: only cats") as caught:
        ask(engine, "refuse")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "template",
    [
        "{{ 9 ** (9 ** 9) }}",
        "{{ " + "(" * 50_000,
        "{% for x in y %}" * 300,
        "{{ messages",
        "{{ nothing.at.all }}",
    ],
)
def test_a_template_that_is_none_is_an_integrity_error(
    tmp_path: Path, asker: Asker, template: str
) -> None:
    chat = {"tokenizer.chat_template": template}
    path = write_model(tmp_path / "m.gguf", SMALL, metadata=statements(license="mit") | chat)
    with (
        cleared_file(path, asker, context=512) as found,
        contextlib.closing(Worker()) as worker,
        Engine(found, worker) as engine,
    ):
        with pytest.raises(IntegrityError, match="chat template"):
            ask(engine, "hello")
        with pytest.raises(IntegrityError, match="chat template"):
            ask(engine, "again")


def test_the_processes_for_templates_end_with_the_worker(engine: Engine) -> None:
    ask(engine, "hello")
    worker = engine.worker.process.pid
    keeper, helper = for_templates(worker)
    waiting = that_waits(helper)
    os.kill(worker, signal.SIGKILL)
    assert ended(keeper, helper, waiting)


def for_templates(worker: int) -> tuple[int, int]:
    """The process that keeps the one for templates, and that one."""
    (keeper,) = children(worker)
    (helper,) = children(keeper)
    return keeper, helper


def that_waits(helper: int) -> int:
    """The process that waits for the next conversation; those before it have gone."""
    deadline = time.monotonic() + LIMIT
    while len(found := children(helper)) != 1:
        assert time.monotonic() < deadline, found
        time.sleep(0.001)
    return found[0]


def test_templates_are_rendered_again_when_their_process_was_killed(engine: Engine) -> None:
    worker = engine.worker.process.pid
    before = ask(engine, "hello")
    for _ in range(3):
        _, helper = for_templates(worker)
        os.kill(helper, signal.SIGKILL)
        assert ended(helper)
        after = ask(engine, "hello")
        assert after.prompt_tokens == before.prompt_tokens
        assert after.tokens > 0
        assert for_templates(worker)[1] != helper


def test_a_process_that_waits_for_a_conversation_may_be_ended(engine: Engine) -> None:
    before = ask(engine, "hello")
    _, helper = for_templates(engine.worker.process.pid)
    waiting = that_waits(helper)
    os.kill(waiting, signal.SIGKILL)
    assert ended(waiting)
    after = ask(engine, "hello")
    assert after.prompt_tokens == before.prompt_tokens
    assert that_waits(helper) != waiting


def test_a_conversation_outlives_the_process_that_renders_it(engine: Engine) -> None:
    """It is killed while it waits for a template that takes too long."""
    worker = engine.worker.process.pid
    _, helper = for_templates(worker)
    killing = threading.Timer(0.5, os.kill, (helper, signal.SIGKILL))
    killing.start()
    with pytest.raises(IntegrityError, match="more than 2 seconds"):
        ask(engine, "loop")
    killing.join()
    assert ended(helper)
    assert ask(engine, "hello").tokens > 0


def test_without_any_process_for_templates_the_engine_is_said_to_have_died(engine: Engine) -> None:
    worker = engine.worker.process.pid
    keeper, helper = for_templates(worker)
    os.kill(keeper, signal.SIGKILL)
    assert ended(keeper, helper)
    with pytest.raises(EngineDied, match="that render chat templates were ended") as caught:
        ask(engine, "hello")
    assert caught.value.exit_code == 7
    assert caught.value.hint == ""
    assert ended(worker)  # so that whoever keeps it starts another
