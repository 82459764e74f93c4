"""The process that runs the engine: `python -I -m launcher.engine.worker FD`.

It ends when its launcher does; whatever kills the engine kills this process alone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from launcher.engine.messages import Channel, Closed
from launcher.engine.worker import limits
from launcher.engine.worker.rendering import Gone, Renderer


def main() -> None:
    """Serves over the socket whose number is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle
    limits.end_with_parent()
    limits.limit()
    line = socket.socket(fileno=int(sys.argv[1]))
    renderer = Renderer(line)
    from launcher.engine.worker.service import Service  # the engine, which the renderer needs not

    renderer.begin()
    try:
        Service(Channel(line, takes_files=True), renderer).serve()
    except Closed:
        pass
    except Gone as error:
        os.write(2, f"{error}\n".encode())
        os._exit(1)
    os._exit(0)  # freeing gigabytes piece by piece helps nobody


if __name__ == "__main__":
    main()
