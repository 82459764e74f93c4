"""The default model, and somebody who asks for it."""

from tests.engine.conftest import asker, smollm2

__all__ = ["asker", "smollm2"]
