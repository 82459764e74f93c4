"""Other people's clients as they come from the registry: LangChain's, and the `llm` command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.serving.running import MODEL, Running

QUESTION = "Name three colours."
NO_KEY = pydantic.SecretStr("none")
Ask = Callable[..., str]


# --- LangChain ----------------------------------------------------------------------------------


class Pet(pydantic.BaseModel):
    """An animal that lives with people."""

    kind: Literal["cat", "dog"]
    age: Literal[1, 2, 3]


@tool
def buy(kind: Literal["cat", "dog"], count: Literal[1, 2]) -> str:
    """Buy animals."""
    return f"{count} {kind}"


def chat(server: Running, **more: Any) -> ChatOpenAI:
    given = {"max_tokens": 12, "temperature": 0, "max_retries": 0, **more}
    return ChatOpenAI(model=MODEL, base_url=f"{server.url}/v1", api_key=NO_KEY, **given)


def test_langchain_asks(server: Running) -> None:
    found = chat(server).invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    assert found.text
    assert found.response_metadata["model_name"] == MODEL
    assert found.usage_metadata is not None
    assert 0 < found.usage_metadata["output_tokens"] <= 12


def test_langchain_streams(server: Running) -> None:
    whole = chat(server).invoke(QUESTION)
    pieces = list(chat(server, stream_usage=True).stream(QUESTION))
    assert len([piece for piece in pieces if piece.text]) > 2
    assert "".join(piece.text for piece in pieces) == whole.text
    assert any(piece.usage_metadata for piece in pieces)


def test_langchain_asks_several_at_once(server: Running) -> None:
    found = chat(server).batch([QUESTION, "What is rain?", QUESTION])
    assert found[0].text == found[2].text != found[1].text


def test_langchain_binds_tools(server: Running) -> None:
    bound = chat(server, max_tokens=100).bind_tools([buy], tool_choice="buy")
    found = bound.invoke("Two cats, please.")
    assert isinstance(found, AIMessage)
    (call,) = found.tool_calls
    assert buy.invoke(call["args"])
    assert not found.invalid_tool_calls
    result = ToolMessage(content="Done", tool_call_id=call["id"])
    after = chat(server).bind_tools([buy], tool_choice="auto")
    told = after.invoke([HumanMessage("Two cats, please."), found, result])
    assert told.response_metadata["finish_reason"] in ("stop", "length", "tool_calls")


def test_langchain_streams_a_call(server: Running) -> None:
    bound = chat(server, max_tokens=100).bind_tools([buy], tool_choice="any")
    whole, *pieces = bound.stream("Two cats, please.")
    for piece in pieces:
        whole += piece  # type: ignore[assignment]
    (call,) = whole.tool_calls
    assert call["name"] == "buy"
    assert buy.invoke(call["args"])


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_has_answers_in_a_form(server: Running, method: Any) -> None:
    structured = chat(server, max_tokens=100).with_structured_output(Pet, method=method)
    assert isinstance(structured.invoke("I have an old dog."), Pet)


def test_langchain_by_responses(server: Running) -> None:
    found = chat(server, use_responses_api=True).invoke(QUESTION)
    assert found.text == chat(server).invoke(QUESTION).text
    pieces = chat(server, use_responses_api=True).stream(QUESTION)
    assert "".join(piece.text for piece in pieces) == found.text


def test_langchain_embeds(server: Running) -> None:
    embed = OpenAIEmbeddings(
        model=MODEL,
        base_url=f"{server.url}/v1",
        api_key=NO_KEY,
        check_embedding_ctx_length=False,
    )
    first, second = embed.embed_documents(["rain", "sun"])
    assert len(first) == len(second) > 100
    assert embed.embed_query("rain") == pytest.approx(first, abs=1e-3)


# --- llm ----------------------------------------------------------------------------------------


@pytest.fixture
def llm(server: Running, tmp_path: Path) -> Ask:
    """The command, set up as its documentation says for a server of one's own."""
    model = [
        {
            "model_id": "local",
            "model_name": MODEL,
            "api_base": f"{server.url}/v1",
            "supports_schema": True,
            "supports_tools": True,
        }
    ]
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(model))
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}

    def ask(*arguments: str, limits: Sequence[str] = ("-o", "max_tokens", "12")) -> str:
        command = ["-m", "llm", *arguments, "-m", "local", "-o", "temperature", "0", *limits]
        done = subprocess.run(
            [sys.executable, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return ask


def test_llm_says_the_same_streamed_or_not(llm: Ask) -> None:
    streamed, whole = llm("prompt", QUESTION), llm("prompt", QUESTION, "--no-stream")
    assert streamed == whole
    assert streamed.strip()
    assert llm("prompt", "And three more?", "--continue").strip()


def test_llm_asks_for_a_form(llm: Ask) -> None:
    schema = json.dumps(Pet.model_json_schema())
    found = llm("prompt", "An old dog", "--schema", schema, limits=("-o", "max_tokens", "100"))
    assert Pet.model_validate_json(found).kind in found


def test_llm_offers_a_tool(llm: Ask) -> None:
    assert llm("prompt", QUESTION, "--functions", "def noon() -> str: return 'now'").strip()
