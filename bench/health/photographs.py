"""The photographs of the study, fetched once and checked, and how they are divided.

They come out of packages of the Python registry, as boxes of data (nothing of them is installed or run), whose own
licences are in PACKAGES. The twenty that `foolbox` brings are from ImageNet; they are only measured with here, never
passed on.

Divided by photograph, not by picture cut out of one: what limits were looked at on (CHOOSING), and what only tells how
good they are (TESTING). A new photograph goes to one of the two and stays there.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.demo import assets
from examples.demo.assets import Source

Pixels = NDArray[np.uint8]

PACKAGES = {
    "scikit-image==0.26.0": "BSD-3-Clause",
    "scikit-learn==1.9.1": "BSD-3-Clause",
    "matplotlib==3.11.2": "Matplotlib's own, as Python's",
    "imgaug==0.4.0": "MIT",
    "foolbox==3.3.4": "MIT",
    "mahotas==1.4.19": "MIT",
}


def skimage(name: str, sha256: str) -> Source:
    return Source("scikit-image==0.26.0", f"skimage/data/{name}", sha256)


def foolbox(name: str, sha256: str) -> Source:
    return Source("foolbox==3.3.4", f"foolbox/data/imagenet_{name}.jpg", sha256)


def mahotas(name: str, sha256: str) -> Source:
    return Source("mahotas==1.4.19", f"mahotas/demos/data/{name}.jpg", sha256)


CHOOSING = {
    "astronaut": skimage("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    "coffee": skimage("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "coins": skimage("coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
    "grass": skimage("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
    "ihc": skimage("ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef"),
    "page": skimage("page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3"),
    "rocket": skimage("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    "color": skimage("color.png", "7d2df993de2b4fa2a78e04e5df8050f49a9c511aa75e59ab3bd56ac9c98aef7e"),
    "cell": skimage("cell.png", "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515"),
    "flower": Source(
        "scikit-learn==1.9.1",
        "sklearn/datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
    "luis": mahotas("luispedro", "27e7af47501a4e9a06e4d8bd8b834bd773fe7b187baef2f47e120c663524bed1"),
    "chairs": foolbox("01_559", "5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6"),
    "chestnuts": foolbox("03_990", "c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f"),
    "thatch": foolbox("05_853", "8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131"),
    "jeep": foolbox("07_609", "2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c"),
    "cap": foolbox("09_455", "ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4"),
    "shoe": foolbox("11_630", "892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01"),
    "cannon": foolbox("13_471", "52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81"),
    "geese": foolbox("15_99", "4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e"),
    "eagle": foolbox("17_22", "b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5"),
    "beetle": foolbox("19_305", "e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556"),
}

TESTING = {
    "brick": skimage("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf"),
    "camera": skimage("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    "cat": skimage("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "gravel": skimage("gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12"),
    "moon": skimage("moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577"),
    "motorcycle": skimage("motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"),
    "retina": skimage("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6"),
    "stars": skimage("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4"),
    "text": skimage("text.png", "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1"),
    "china": Source(
        "scikit-learn==1.9.1",
        "sklearn/datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    "hopper": Source(
        "matplotlib==3.11.2",
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    ),
    "quokka": Source(
        "imgaug==0.4.0",
        "imgaug/quokka.jpg",
        "bf1059d0f925e7d0c712cadf07a04ba4cfc98957d7be65d3a7d8ae0c464cd76e",
    ),
    "store": mahotas("DepartmentStore", "1b6ae6ab0fd757370501368981f989fe7b1b6d0d7703028990a6bffe94cc67e0"),
    "mastiff": foolbox("00_243", "28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d"),
    "beakers": foolbox("02_438", "ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed"),
    "strawberries": foolbox("04_949", "a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669"),
    "desert": foolbox("06_609", "fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f"),
    "yurts": foolbox("08_915", "c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c"),
    "drum": foolbox("10_541", "f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9"),
    "rugs": foolbox("12_741", "6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529"),
    "spoonbills": foolbox("14_129", "ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139"),
    "dalmatian": foolbox("16_251", "ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129"),
    "leafhopper": foolbox("18_317", "b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d"),
}

DIGITS = Source(
    "scikit-learn==1.9.1",
    "sklearn/datasets/data/digits.csv.gz",
    "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
)
"""1,797 handwritten digits (Alpaydin and Kaynak, 1998, UCI): 8 x 8 greys of 0 to 16, and which digit it is."""

SOURCES = (*CHOOSING.values(), *TESTING.values(), DIGITS)


@dataclass(frozen=True, slots=True)
class Album:
    """choosing, testing: photographs by name, uint8 [height, width, 3]. digits: uint8 [n, 8, 8] of 0 to 255, and the
    digit of each, in the order of their file.
    """

    choosing: dict[str, Pixels]
    testing: dict[str, Pixels]
    digits: tuple[Pixels, NDArray[np.int64]]


def open_album(cache: Path | None = None) -> Album:
    """Fetches what is not in `cache` yet (37 MB once, of which 9 MB stay). Raises AssetError."""
    digest = hashlib.sha256("".join(source.sha256 for source in SOURCES).encode()).hexdigest()
    folder = (cache or assets.CACHE) / f"health-{digest[:16]}"
    if not folder.is_dir():
        fetch(folder)
    return Album(
        choosing={name: pixels(folder / source.name) for name, source in CHOOSING.items()},
        testing={name: pixels(folder / source.name) for name, source in TESTING.items()},
        digits=read_digits(folder / DIGITS.name),
    )


def pixels(path: Path) -> Pixels:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def read_digits(path: Path) -> tuple[Pixels, NDArray[np.int64]]:
    with gzip.open(path, "rt") as file:
        rows = np.array([[float(cell) for cell in row] for row in csv.reader(file)])
    return np.minimum(rows[:, :64] * 16, 255).astype(np.uint8).reshape(-1, 8, 8), rows[:, 64].astype(np.int64)


def fetch(folder: Path) -> None:
    print("fetching the photographs of the study (37 MB, once)", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        ready = Path(scratch) / "ready"
        ready.mkdir()
        for package in PACKAGES:
            with zipfile.ZipFile(assets.download(package, Path(scratch) / package)) as wheel:
                for source in SOURCES:
                    if source.package == package:
                        (ready / source.name).write_bytes(assets.extract(source, wheel))
        try:
            ready.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, and its files are as good
                raise
