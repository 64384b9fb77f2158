"""The MQTT topics of one tenant. docs/mqtt.md lists them with their quality of service and retention."""

import re
from dataclasses import dataclass

from littoral.names import check_name

ROOT = "lt/v1"
CHUNK_BYTES = 61_440  # with topic and headers below the smallest limit of a cloud broker (64 KB per message)

_META = re.compile(r"[a-z0-9.-]{1,120}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of topics under `lt/v1/<tenant>/`."""

    tenant: str

    def __post_init__(self) -> None:
        check_name(self.tenant, "tenant")

    @property
    def prefix(self) -> str:
        return f"{ROOT}/{self.tenant}"

    @property
    def index(self) -> str:
        return f"{self.prefix}/meta/index"

    def meta(self, file: str) -> str:
        """Topic of one metadata file, `3.m-person-detect.json`."""
        if not _META.fullmatch(file):
            raise ValueError(f"no metadata file has the name {file!r}")
        return f"{self.prefix}/meta/{file}"

    def chunk(self, sha256: str) -> str:
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"no digest: {sha256!r}")
        return f"{self.prefix}/chunk/{sha256}"

    def desired(self, device: str) -> str:
        return f"{self.prefix}/dev/{device}/desired"

    def command(self, device: str, name: str) -> str:
        return f"{self.prefix}/dev/{device}/cmd/{name}"

    def up(self, device: str, kind: str) -> str:
        """`kind` is presence, state, metrics, event, need or ack."""
        return f"{self.prefix}/dev/{device}/up/{kind}"

    def parse_up(self, topic: str) -> tuple[str, str] | None:
        """(device, kind) of a message from a device, None for any other topic."""
        rest = topic.removeprefix(f"{self.prefix}/dev/").split("/")
        if len(rest) != 3 or rest[1] != "up" or not topic.startswith(self.prefix + "/"):
            return None
        return rest[0], rest[2]
