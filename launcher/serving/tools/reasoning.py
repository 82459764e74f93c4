"""The tags between which models write their reasoning."""

from __future__ import annotations

# As the templates of DeepSeek, Qwen, SmolLM3, GLM, LFM2, Granite and Nemotron (the first), of
# Apriel, of Mistral, of Cohere, of Seed and of Gemma 4 name them.
TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought", "<channel|>"),
)

# Of these, some are control tokens, which the answer's text leaves out unless it is asked for them.
CONTROL = (
    "[THINK]",
    "[/THINK]",
    "<|START_THINKING|>",
    "<|END_THINKING|>",
    "<|channel>",
    "<channel|>",
)
