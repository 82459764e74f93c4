"""What clients are told of errors."""

from __future__ import annotations

import json

import pytest

from launcher.errors import (
    ContextFull,
    DoesNotFit,
    EngineDied,
    IntegrityError,
    LauncherError,
    TemplateFailed,
    Unanswerable,
)
from launcher.serving import failures
from launcher.serving.failures import BackingOff, BadRequest, QueueFull, UnknownModel


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadRequest("No", "n"), 400, None),
        (BadRequest("No", "n", "odd"), 400, "odd"),
        (ContextFull("600 tokens, the context holds 512"), 400, "context_length_exceeded"),
        (Unanswerable("The grammar cannot be used"), 400, "unanswerable"),
        (TemplateFailed("The template takes too long"), 400, "template_failed"),
        (UnknownModel("x", ["y"]), 404, "model_not_found"),
        (QueueFull("x", 9), 429, "queue_full"),
        (BackingOff("x", 0.5, None), 503, "loading_again"),
        (DoesNotFit("It needs more memory"), 503, "does_not_fit"),
        (EngineDied("The engine was ended by SIGKILL"), 503, "engine_died"),
        (IntegrityError("The file is damaged"), 500, None),
        (LauncherError("Something else"), 500, None),
    ],
)
def test_each_error_has_its_status_and_code(
    error: LauncherError, status: int, code: str | None
) -> None:
    found = failures.of(error)
    assert (found.status, found.code) == (status, code)
    assert found.message.startswith(error.message)
    assert (found.retry_after is not None) == (status in (429, 503))


def test_the_body_is_in_the_form_of_the_clients_of_its_path() -> None:
    failure = failures.of(BadRequest("No", "n"))
    assert failures.body(failure, "/v1/chat/completions") == {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "param": "n",
            "code": None,
        }
    }
    assert failures.body(failure, "/api/chat") == {"error": "No."}


def test_what_helps_is_said_and_when_to_come_again() -> None:
    error = EngineDied("The engine is gone", hint="It is started again.")
    found = failures.response(failures.of(error), "/v1/models")
    assert found.headers["retry-after"] == "1"
    body = json.loads(bytes(found.body))
    assert body["error"]["message"] == "The engine is gone. It is started again."


def test_anything_can_be_written() -> None:
    assert failures.as_bytes({"a": "\ud800é"}) == b'{"a":"\\ud800\\u00e9"}'
