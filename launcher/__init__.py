"""A local inference launcher for quantised GGUF models that keeps to their licences."""

__version__ = "0.1.0"
