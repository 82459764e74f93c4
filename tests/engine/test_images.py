"""Images in the real engine: what is seen changes what is said, and what is broken is told.

The numbers of the image half are drawn by lot: it sees, and understands nothing.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher import flow
from launcher.asker import Asker, Request
from launcher.engine import pictures
from launcher.engine.client import Done, Engine, Worker
from launcher.engine.fit import Wishes
from launcher.errors import ContextFull, IntegrityError, LauncherError
from launcher.licensing import records
from launcher.models.gguf import Entry, ValueType
from tests.command import launcher
from tests.engine.conftest import GREEDY
from tests.engine.test_client import Permit
from tests.engine.test_draft import SCOUT
from tests.engine.test_draft import by_lot as by_lot
from tests.eyes import PLACES, png, write_eye
from tests.headers import write_adapter
from tests.hub_server import HubServer
from tests.hub_server import hub as hub

WIDTH = 576  # of SmolLM2's embeddings
FIRST, SECOND = png(1), png(2, light=True)
WHO = ("--as", "individual:DE")


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_eye(tmp_path_factory.mktemp("eye") / "eye.gguf", WIDTH)


@contextlib.contextmanager
def seeing(
    asker: Asker, model: Path, eye: Path, draft: str = "", context: int = 256
) -> Iterator[Engine]:
    request = Request(model=str(model), mmproj=eye, draft=draft)
    with flow.judged(request, asker) as judgement, contextlib.closing(Worker()) as worker:
        cleared = flow.clear(judgement, Wishes(context=context, threads=1), asker)
        with flow.load(cleared, worker, asker) as engine:
            yield engine


def answer(engine: Engine, *images: bytes, text: str = "What is this?", **wishes: Any) -> str:
    said = [{"role": "user", "content": text, "images": len(images)}]
    *texts, done = engine.generate(said, images=images, sampling=GREEDY, max_tokens=10, **wishes)
    assert isinstance(done, Done)
    return "".join(getattr(event, "text", "") for event in texts)


def test_what_is_seen_changes_what_is_said(smollm2: Path, eye: Path, asker: Asker) -> None:
    with seeing(asker, smollm2, eye) as engine:
        one, two, both = (
            answer(engine, *images) for images in ([FIRST], [SECOND], [FIRST, SECOND])
        )
        blind = answer(engine)
        assert len({one, two, both, blind}) == 4
        assert answer(engine, FIRST) == one
        assert answer(engine, FIRST, guesses=False) == one
    *_, load = records.recent(asker.log)
    assert [(file["role"], file["name"]) for file in load["files"]][1:] == [("mmproj", "eye.gguf")]


def test_a_draft_leaves_images_alone(smollm2: Path, eye: Path, by_lot: Path, asker: Asker) -> None:
    with seeing(asker, smollm2, eye) as engine:
        expected = answer(engine, FIRST)
    with seeing(asker, smollm2, eye, draft=str(by_lot)) as engine:
        assert answer(engine, FIRST) == expected


def test_an_image_takes_places_of_the_context_and_is_known_again(
    smollm2: Path, eye: Path, asker: Asker
) -> None:
    said = [{"role": "user", "content": "What is this?", "images": 1}]
    with seeing(asker, smollm2, eye, context=64) as engine:
        wishes: dict[str, Any] = {"sampling": GREEDY, "max_tokens": 2}
        *_, first = engine.generate(said, images=[FIRST], **wishes)
        *_, again = engine.generate(said, images=[FIRST], **wishes)
        *_, other = engine.generate(said, images=[SECOND], **wishes)
        assert isinstance(first, Done)
        assert isinstance(again, Done)
        assert isinstance(other, Done)
        assert first.prompt_computed == first.prompt_tokens > PLACES
        assert again.prompt_computed == 1
        assert other.prompt_computed > PLACES
        with pytest.raises(ContextFull, match=r"\d\d tokens, the context holds"):
            answer(engine, *[FIRST] * 16)
        assert answer(engine, FIRST)


def test_words_that_look_like_a_place_for_an_image_are_words(
    smollm2: Path, eye: Path, asker: Asker
) -> None:
    with seeing(asker, smollm2, eye) as engine:
        assert answer(engine, FIRST, text="What does <__media__> mean?")
        assert answer(engine, text="What does <__media__> mean?")


def test_a_broken_image_is_told_and_the_next_one_is_seen(
    smollm2: Path, eye: Path, asker: Asker
) -> None:
    with seeing(asker, smollm2, eye) as engine:
        with pytest.raises(IntegrityError, match="Image 2 cannot be decoded"):
            answer(engine, FIRST, SECOND[:300])
        with pytest.raises(IntegrityError, match=r"Image 1 has 200000000 x 30 pixels"):
            answer(engine, png(claim=200_000_000))
        assert answer(engine, FIRST)


def test_run_takes_images(smollm2: Path, eye: Path, tmp_path: Path) -> None:
    image, broken = tmp_path / "a.png", tmp_path / "b.png"
    image.write_bytes(FIRST)
    broken.write_bytes(b"no image at all")
    run = ("run", smollm2, *WHO, "-n", 6, "-c", 256, "--temp", 0)
    seen = launcher(*run, "--mmproj", eye, "--image", image, "What is this?")
    assert seen.code == 0, seen.err
    assert seen.out != launcher(*run, "--mmproj", eye, "What is this?").out
    assert launcher(*run, "--mmproj", eye, "--image", broken, "What is this?").code == 6
    assert launcher(*run, "--image", image, "What is this?").code == 2
    many = [word for _ in range(17) for word in ("--image", image)]
    result = launcher(*run, "--mmproj", eye, *many, "What is this?")
    assert result.code == 1
    assert "17 images are too many" in result.err


def test_an_image_half_of_the_hub_is_judged_and_fetched(
    hub: HubServer, smollm2: Path, eye: Path, tmp_path: Path
) -> None:
    hub.add("acme/Eye-GGUF", {"mmproj-f16.gguf": eye}, {"license": "apache-2.0"})
    hub.add("acme/Scout-GGUF", {"mmproj-f16.gguf": eye}, {"base_model": SCOUT})
    image = tmp_path / "a.png"
    image.write_bytes(FIRST)
    run = ("run", smollm2, "hi", *WHO, "-n", 4, "-c", 256, "--temp", 0, "--image", image)
    result = launcher(*run, "--mmproj", "hf.co/acme/Eye-GGUF/mmproj-f16.gguf")
    assert result.code == 0, result.err
    assert result.out == launcher(*run, "--mmproj", eye).out
    again = len(hub.log)
    assert launcher(*run, "--mmproj", "hf.co/acme/Eye-GGUF/mmproj-f16.gguf").out == result.out
    assert len(hub.log) == again
    assert launcher(*run, "--mmproj", "hf.co/acme/Scout-GGUF/mmproj-f16.gguf").code == 3
    assert launcher(*run, "--mmproj", "acme/Eye-GGUF").code == 10


MISFITS: dict[str, tuple[Callable[[Path], Path], int, str]] = {
    "for another model": (lambda path: write_eye(path, 64), 6, "mismatch"),
    "no image half": (
        lambda path: write_adapter(path, "smollm2-135m", {"general.license": "mit"}),
        6,
        "is no image half of a model: it says that it is 'llama'",
    ),
    "a blind one": (
        lambda path: write_eye(path, WIDTH, clip__has_vision_encoder=False),
        8,
        "takes in no images",
    ),
    "of a new kind": (
        lambda path: write_eye(path, WIDTH, clip__projector_type="brand-new"),
        8,
        "does not know the kind of projector",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_an_image_half_that_does_not_fit_is_told(
    case: str, smollm2: Path, tmp_path: Path, asker: Asker
) -> None:
    make, code, words = MISFITS[case]
    with (
        pytest.raises(LauncherError) as caught,
        seeing(asker, smollm2, make(tmp_path / "other.gguf")),
    ):
        raise AssertionError(case)
    assert caught.value.exit_code == code
    assert words in caught.value.message


def test_an_image_half_that_the_engine_sees_otherwise_ends_the_load(
    smollm2: Path, eye: Path, asker: Asker
) -> None:
    with flow.judged(Request(model=str(smollm2), mmproj=eye), asker) as judgement:
        cleared = flow.clear(judgement, Wishes(context=256, threads=1), asker)
        main, half = cleared.bundle.parts
        assert half.header is not None
        said = {
            **half.header.metadata,
            "clip.has_vision_encoder": Entry(ValueType.BOOL, value=False),
        }
        other = replace(half, header=replace(half.header, metadata=said))
        bundle = replace(cleared.bundle, parts=(main, other))
        hidden = replace(cleared, bundle=bundle, decision=Permit(bundle.fingerprint))
        with (
            contextlib.closing(Worker()) as worker,
            pytest.raises(IntegrityError, match=r"eye.gguf shows .* takes in vision"),
        ):
            Engine(hidden, worker)


def test_the_plan_counts_an_image_half(smollm2: Path, eye: Path, asker: Asker) -> None:
    totals = []
    for half in (None, eye):
        with flow.judged(Request(model=str(smollm2), mmproj=half), asker) as judgement:
            totals.append(flow.planned(judgement.bundle, Wishes(context=256), asker).memory.total)
    assert totals[1] - totals[0] > eye.stat().st_size


def test_the_way_to_images_takes_no_numpy() -> None:
    code = (
        "from launcher.engine.worker import llama; import sys; llama.media(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "llama_cpp.mtmd_cpp" in done.stdout
    assert "numpy" not in done.stdout


def jpeg(width: int, height: int) -> bytes:
    table = b"\xff\xdb" + struct.pack(">H", 67) + bytes(65)
    frame = b"\xff\xc0" + struct.pack(">HBHH", 8, 8, height, width)
    return b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + bytes(14) + b"\xff" + table + frame


@pytest.mark.parametrize(
    "image",
    [
        lambda width, height: jpeg(width, height),
        lambda width, height: b"GIF89a" + struct.pack("<HH", width, height),
        lambda width, height: b"BM" + bytes(16) + struct.pack("<ii", width, -height),
        lambda width, height: (
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
        ),
    ],
    ids=["jpeg", "gif", "bmp", "png"],
)
def test_the_size_of_an_image_is_known_before_it_is_decoded(
    image: Callable[[int, int], bytes],
) -> None:
    pictures.check(image(4000, 3000), "photo")
    for width, height in ((30_000, 30_000), (0, 10)):
        with pytest.raises(IntegrityError, match=f"photo has {width} x {height} pixels"):
            pictures.check(image(width, height), "photo")
    whole = image(4000, 3000)
    for length in range(len(whole)):
        with pytest.raises(IntegrityError, match="photo is no JPEG, PNG, GIF or BMP image"):
            pictures.check(whole[:length], "photo")


def test_other_files_are_no_images(tmp_path: Path) -> None:
    for data in (b"", b"RIFF____WAVE", b"8BPS", b"#?RADIANCE", b"\xff\xd8\xff\x00" * 9):
        with pytest.raises(IntegrityError, match="photo is no JPEG"):
            pictures.check(data, "photo")
    with pytest.raises(IntegrityError, match="larger than 20 MiB"):
        pictures.check(bytes(pictures.MAX_SIZE + 1), "photo")
    with pytest.raises(LauncherError, match="cannot be read") as caught:
        pictures.read(tmp_path)
    assert caught.value.exit_code == 10
