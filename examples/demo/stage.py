"""What the steps of the story share: the model and its releases, and how one is made, published and rolled out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from examples.demo import assets
from examples.demo.assets import Assets
from examples.demo.fleet import CARD, CHUNK_BYTES, MODEL, Fleet
from examples.demo.processes import DemoError
from examples.demo.terminal import Terminal
from examples.demo.watching import Service, Standings, follow, served, settled
from littoral.bundle import chunks

GOLDEN_SUBJECTS = ("cat", "horse", "motorcycle", "rocket")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story takes place."""

    terminal: Terminal
    fleet: Fleet
    assets: Assets

    @property
    def good(self) -> bytes:
        """The classifier as its makers published it."""
        return self.assets.classifier.read_bytes()

    def prepare(self) -> None:
        """Writes what `bundle build` takes beside the model: card, labels, and inputs for golden vectors."""
        folder = self.fleet.folder
        (folder / "card.toml").write_text(CARD)
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in self.assets.labels))
        pictures = [picture for subject, picture in assets.frames(self.assets) if subject in GOLDEN_SUBJECTS]
        side = assets.SIDE_PX
        inputs = [np.frombuffer(picture, np.int8).reshape(side, side, 3) for picture in pictures[:8]]
        np.savez(folder / "golden-inputs.npz", np.stack(inputs))

    def publish(self, release: int, model: bytes, version: str, golden: bool = True, quote: bool = False) -> None:
        """Builds, signs and publishes a release; with `quote` shows what the builder says."""
        fleet = self.fleet
        (fleet.folder / f"{release}.tflite").write_bytes(model)
        build = ["littoral-fleet", "bundle", "build", "--model", f"{release}.tflite", "--name", MODEL]
        build += ["--release", str(release), "--version", version]
        build += ["--card", "card.toml", "--labels", "labels.txt"]
        build += ["--golden-inputs", "golden-inputs.npz"] if golden else []
        # The releases hardly differ, and the story is of chunks: a delta would be a single one.
        build += ["--chunk-bytes", str(CHUNK_BYTES), "--no-delta", "--out", f"bundle-{release}"]
        fleet.command(*build, quote=quote)
        fleet.command("littoral-fleet", "publish", f"bundle-{release}", "--keys", "keys")

    def roll_out(
        self,
        release: int,
        end: str,
        look: Callable[[Standings], None] = lambda standings: None,
        other_ends: Mapping[str, str] | None = None,
    ) -> Standings:
        """Offers a published release to all devices and watches until each stands at `end`, or an end of its own."""
        self.fleet.command("littoral-fleet", "rollout", "start", MODEL, "--release", str(release), "--to", "all")
        ends = {**dict.fromkeys(self.fleet.devices, end), **(other_ends or {})}
        return follow(self.fleet, self.terminal, release, ends, look)

    def manifest(self, release: int) -> dict[str, Any]:
        """bundle.json of a release."""
        read: dict[str, Any] = json.loads((self.fleet.folder / f"bundle-{release}" / "bundle.json").read_text())
        return read

    def model_chunks(self, release: int) -> list[bytes]:
        model = (self.fleet.folder / f"{release}.tflite").read_bytes()
        return list(chunks.split(model, CHUNK_BYTES))

    def undisturbed(
        self, before: dict[str, Any], *order: int, other_orders: Mapping[str, Sequence[int]] | None = None
    ) -> Service:
        """What the app saw since `before`, in which the releases `order` were to answer, on some devices others.

        Raises DemoError where one question was not answered as it should be.
        """
        orders = {**dict.fromkeys(self.fleet.devices, order), **(other_orders or {})}
        service = served(before, settled(self.fleet, order[-1]), orders)
        if not service.undisturbed:
            spans = {name: watch["spans"] for name, watch in self.fleet.camera().items()}
            raise DemoError(f"the camera app was disturbed: {service}; releases that answered: {spans}")
        self.terminal.proof(f"camera app: {service}")
        return service

    def explained(self, release: int, outcome: str, *names: str) -> dict[str, dict[str, Any]]:
        """How the update to `release` ended on these devices, or every one, as each explains it. Raises DemoError."""
        endings = {}
        for name in names or self.fleet.devices:
            explained = self.fleet.explain(name)
            last = explained["last"]
            if last is None or (last["release"], last["outcome"]) != (release, outcome):
                raise DemoError(f"{name} explains {last} where release {release} should be {outcome}")
            endings[name] = explained
        return endings

    def status(self, wanted: int) -> list[dict[str, Any]]:
        """The devices of the newest rollout, as `rollout status --wait` says when it ends with status `wanted`."""
        (rollout,) = self.fleet.ask("littoral-fleet", "rollout", "status", MODEL, "--wait", wanted=wanted)
        devices: list[dict[str, Any]] = rollout["devices"]
        return devices


def must(holds: bool, what: str) -> None:
    """Raises DemoError where `what` does not hold."""
    if not holds:
        raise DemoError(f"this does not hold: {what}")


def short(digest: str) -> str:
    return digest[:12]
