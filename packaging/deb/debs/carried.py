"""What the packages carry of other people's work: which wheels, for which architecture and Python, which files of them.

Versions and hashes come from the lock files of the repository. What Debian 12 and 13 have in a version that serves is
not carried: cryptography, numpy, Pillow, certifi, tzdata. Nothing here downloads or unpacks.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

EVERYTHING = ("*",)
NEVER = (
    "*.pyi",
    "*.typed",
    "*.md",
    "*.rst",
    "*.sh",
    "*/.gitignore",
    "*/LICENSE",
    "*/tests/*",
    "*/test_*",
    "*.dist-info/RECORD",
    "*.dist-info/WHEEL",
    "*.dist-info/top_level.txt",
    "*.dist-info/licenses/*",
    "*.dist-info/LICENSE*",
)
"""Of no wheel. Licences stand in debian/copyright."""

NO_METADATA = (*NEVER, "*.dist-info/*")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package of the locks. `keep` and `drop` are patterns of paths in the wheel."""

    name: str
    keep: tuple[str, ...] = EVERYTHING
    drop: tuple[str, ...] = NEVER
    compiled: bool = False
    """Made for one Python, so there is one for each, under cp311/ and cp313/."""

    def keeps(self, path: str) -> bool:
        def matches(patterns: tuple[str, ...]) -> bool:
            return any(fnmatchcase(path, pattern) for pattern in patterns)

        return matches(self.keep) and not matches(self.drop)


@dataclass(frozen=True, slots=True)
class Architecture:
    """What Debian calls an architecture. machine: as wheels name it; triplet: as its compiler does."""

    name: str
    machine: str
    triplet: str
    libc_headers: str
    pythons: tuple[str, ...]
    wheels: dict[str, tuple[Wheel, ...]]
    """Of each binary package that carries any."""


_INTERPRETER = (
    "ai_edge_litert/__init__.py",
    "ai_edge_litert/interpreter.py",
    "ai_edge_litert/metrics_*.py",
    "ai_edge_litert/libLiteRt.so",
    "ai_edge_litert/libpywrap_litert_common.so",
    "ai_edge_litert/_pywrap_litert_interpreter_wrapper.so",
    "ai_edge_litert-*.dist-info/METADATA",
)
"""The C API and the Interpreter class, and what they open. Without compilers, converters, WebGPU (17 MB) and tools."""

LITERT = Wheel("ai-edge-litert", keep=_INTERPRETER, compiled=True)
LITERT_WITH_SCHEMA = Wheel(
    "ai-edge-litert", keep=(*_INTERPRETER, "ai_edge_litert/schema_py_generated.py"), compiled=True
)
TFLITE = Wheel("tflite-runtime", compiled=True)

LINK = (
    Wheel("paho-mqtt", drop=NO_METADATA),
    Wheel("tuf", drop=NO_METADATA),
    Wheel("securesystemslib", drop=NO_METADATA),
)
FLEET = (
    *LINK,
    LITERT_WITH_SCHEMA,
    Wheel("pydantic-core", compiled=True),
    *(
        Wheel(name)
        for name in (
            "annotated-doc",
            "annotated-types",
            "anyio",
            "click",
            "click-default-group",
            "fastapi",
            "flatbuffers",
            "h11",
            "httpcore",
            "httpx",
            "idna",
            "opentelemetry-api",
            "pluggy",
            "pydantic",
            "python-dateutil",
            "sqlite-fts4",
            "sqlite-utils",
            "starlette",
            "tabulate",
            "typing-extensions",
            "typing-inspection",
            "urllib3",
            "uvicorn",
        )
    ),
)
BOTH_SUITES = ("311", "313")  # Debian 12, Debian 13

ARCHITECTURES = {
    each.name: each
    for each in (
        Architecture(
            "amd64",
            "x86_64",
            "x86_64-linux-gnu",
            "libc6-dev-amd64-cross",
            BOTH_SUITES,
            {"littoral-agent": (*LINK, LITERT), "littoral-fleet": FLEET},
        ),
        Architecture(
            "arm64",
            "aarch64",
            "aarch64-linux-gnu",
            "libc6-dev-arm64-cross",
            BOTH_SUITES,
            {"littoral-agent": (*LINK, LITERT), "littoral-fleet": FLEET},
        ),
        # No TFLite wheel exists for armhf and a later Python: FACTS of the decision record 26.
        Architecture(
            "armhf",
            "armv7l",
            "arm-linux-gnueabihf",
            "libc6-dev-armhf-cross",
            ("311",),
            {"littoral-agent": (*LINK, TFLITE)},
        ),
    )
}
