"""The documents say what the code does: nothing is left out, and nothing is described that does not exist."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from fastapi.routing import APIRoute
from PIL import Image

from agent import alarms, config
from bench.__main__ import parser as bench_parser
from bench.health.__main__ import parser as study_parser
from examples.demo.assets import ensure
from examples.demo.fleet import CARD
from fleet.api import app
from fleet.ingest import _TAKERS as TAKERS
from littoral import errors
from littoral.bundle import card
from littoral.wire import messages
from littoral.wire.query import ERROR_CODES, Kind
from littoral.wire.topics import Topics
from tests import command_reference
from tests.agent.runtime.device import REAL_HOST, Device

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = ("littoral", "agent", "fleet-server/fleet", "examples")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def markdown() -> list[Path]:
    """Every document of the project."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def sources() -> list[Path]:
    return sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))


def sections(text: str, level: str = "##") -> dict[str, str]:
    """The parts of a document by their headings of one level."""
    _, *parts = re.split(rf"^{level} ", text, flags=re.MULTILINE)
    return {head.strip(): body for head, _, body in (part.partition("\n") for part in parts)}


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each table row but the heads."""
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("| ") and not following.startswith("|---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def first_cells(text: str) -> list[str]:
    """What the rows of tables are about: the code words in their first cells."""
    return [word for cells in rows(text) for word in re.findall(r"`([^`]+)`", cells[0])]


# --- commands ---------------------------------------------------------------------------------------------------


def test_the_command_reference_is_what_the_commands_say_of_themselves() -> None:
    written = command_reference.FILE.read_text()
    assert written == command_reference.render(written), "run `python -m tests.command_reference`"


@pytest.mark.parametrize("program", sorted(command_reference.PROGRAMS))
def test_every_command_and_option_explains_itself(program: str) -> None:
    silent = [
        f"{parser.prog} {command_reference.shown(action)}"
        for parser, _ in command_reference.commands(command_reference.parser_of(program))
        for action in command_reference.arguments(parser)
        if not action.help and not str(action.metavar).isupper()
    ]
    assert silent == []


def test_the_command_reference_has_a_place_for_every_program() -> None:
    scripts = tomllib.loads(text_of("pyproject.toml"))["project"]["scripts"]
    assert {name: target.removesuffix(":main") for name, target in scripts.items()} == command_reference.PROGRAMS


def test_what_json_prints_is_documented_of_every_command_that_has_it() -> None:
    with_json = {
        parser.prog
        for program in command_reference.PROGRAMS
        for parser, _ in command_reference.commands(command_reference.parser_of(program))
        if any("--json" in action.option_strings for action in parser._actions)
    }
    table = sections(text_of("docs/commands.md"))["What --json prints"]
    assert {row[0].strip("`") for row in rows(table)} == with_json


def test_every_command_of_dev_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `\./dev ([a-z]+)", text_of("CONTRIBUTING.md"), flags=re.MULTILINE)
    assert sorted(documented) == sorted(runpy.run_path(str(ROOT / "dev"))["COMMANDS"])


def test_documents_name_no_command_that_does_not_exist() -> None:
    known = {
        tuple(parser.prog.split())
        for program in command_reference.PROGRAMS
        for parser, _ in command_reference.commands(command_reference.parser_of(program))
    }
    prefixes = {command[:length] for command in known for length in range(1, len(command) + 1)}
    strange = set()
    for path in markdown():
        for words in re.findall(r"\b(littoral(?:-[a-z]+)?(?: [a-z]+)+)", "\n".join(code_of(path))):
            command = tuple(words.split())
            longest = max(length for length in range(len(command) + 1) if command[:length] in prefixes or not length)
            if command[0] in command_reference.PROGRAMS and command[:longest] not in known:
                strange.add((path.name, words))
    assert strange == set()


def code_of(path: Path) -> list[str]:
    """Code in a document: blocks, and what stands between backticks."""
    text = path.read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    without = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*blocks, *re.findall(r"`([^`]+)`", without)]


def test_documents_name_no_option_that_does_not_exist() -> None:
    known = {"--arch", "--help", "--long", "--once", "--tflite", "--upgrade"}
    known |= {"--allow-downgrades", "--cflags", "--configure", "--libs", "--now", "--system-site-packages"}  # of others
    known |= {"--no-also", "--no-stop-on-upgrade"}  # of debhelper
    for bench in (bench_parser(), study_parser()):
        known |= {option for action in bench._actions for option in action.option_strings}
    for program in command_reference.PROGRAMS:
        for parser in every_parser(command_reference.parser_of(program)):
            known |= {option for action in parser._actions for option in action.option_strings}
    strange = {
        (path.name, option)
        for path in markdown()
        for code in code_of(path)
        if "pytest" not in code
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)
        if option not in known
    }
    assert strange == set()


def every_parser(parser: Any) -> Iterator[Any]:
    yield parser
    for action in parser._actions:
        for child in getattr(action, "choices", None) or {}:
            if hasattr(action.choices, "values"):
                yield from every_parser(action.choices[child])


# --- settings ---------------------------------------------------------------------------------------------------


def toml(value: Any) -> str:
    """A default as agent.toml would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(toml(each) for each in value)}]"
    return f'"{value}"' if isinstance(value, str | Path) else repr(value)


def defaults(cls: Any) -> dict[str, str]:
    found = {}
    for one in fields(cls):
        if not is_dataclass(one.default) and one.name != "state":
            factory = one.default_factory
            found[one.name] = toml(one.default if one.default is not MISSING else factory())  # type: ignore[operator]
    return found


def test_every_setting_is_documented_with_its_default_and_no_other() -> None:
    parts = sections(sections(text_of("docs/settings.md"))["agent.toml"], "###")
    tables = {f"[{name}]": cls for name, cls in config.SECTIONS.items()}
    tables |= {"[models.NAME]": config.Model, "[[access]]": config.Access, "[delegates.NAME]": config.Delegate}
    wanted = {head: defaults(cls) for head, cls in tables.items()}
    top = defaults(config.Config)
    wanted["Top level"] = {name: top[name] for name in top if not any(f"[{name}" in head for head in tables)}
    found = {head: {row[0].strip("`"): row[1].strip("`") for row in rows(body)} for head, body in parts.items()}
    assert found == wanted


def test_every_environment_variable_is_documented_and_no_other() -> None:
    table = sections(text_of("docs/settings.md"))["Environment variables"]
    named = {path: set(re.findall(r"\bLITTORAL_[A-Z_]+\b", path.read_text())) for path in sources()}
    fields = named.pop(ROOT / "agent" / "journal.py")  # of the journal's entries
    assert {name for name in fields if f"`{name}`" not in text_of("docs/operate.md")} == set()
    used = {name for names in named.values() for name in names}
    assert sorted(first_cells(table)) == sorted(used)


# --- errors -----------------------------------------------------------------------------------------------------

# Where a code that is no named error is written: the call, and which of its arguments it is.
CODE_AT = {
    "Result": 1,
    "Report": 0,
    "_FailedError": 0,
    "_FoundError": 0,
    "Finding": 0,
    "Verdict": 0,
    "_find": 0,
    "_found_by": 0,
}
ENDINGS = "How an update ended"


def written_codes() -> set[str]:
    """The codes that the agent gives to endings, beside those of named errors."""
    found = set()
    for path in (ROOT / "agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            at = CODE_AT.get(name, len(node.args))
            code = node.args[at] if at < len(node.args) else None
            if isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value:
                found.add(code.value)
    return found


def test_every_named_error_is_documented_with_its_class_and_no_other() -> None:
    parts = sections(text_of("docs/errors.md"))
    found = {
        row[0].strip("`"): row[1].strip("`") for head, body in parts.items() if head != ENDINGS for row in rows(body)
    }
    assert found == {code: cls.__name__ for code, cls in errors.all_errors().items()}


def test_every_ending_of_an_update_is_documented_and_no_other() -> None:
    written, named = written_codes(), set(errors.all_errors())
    table = set(first_cells(sections(text_of("docs/errors.md"))[ENDINGS]))
    assert written - named - table == set()
    assert table <= written | named


def test_every_alarm_is_documented_with_its_severity_and_no_other() -> None:
    table = sections(text_of("docs/health.md"))["Alarms"]
    found = {row[0].strip("`"): row[1] for row in rows(table)}
    assert found == {code: kind.severity for code, kind in alarms.KINDS.items()} | {"other": "warning"}


# --- MQTT and the local protocol --------------------------------------------------------------------------------


def topic_patterns() -> list[str]:
    """Every topic as the documents write it."""
    topics = Topics("main")
    digest = "0" * 64
    sample = [topics.index, topics.meta("1.root.json"), topics.chunk(digest), topics.desired("ID")]
    sample += [topics.command("ID", "NAME"), *(topics.up("ID", kind) for kind in TAKERS)]
    named = {"1.root.json": "<file>", digest: "<sha256>", "ID": "<id>", "NAME": "<name>"}
    found = []
    for topic in sample:
        short = topic.removeprefix(topics.prefix + "/")
        for word, name in named.items():
            short = short.replace(word, name)
        found.append(short)
    return found


def test_every_topic_is_documented() -> None:
    words = set(re.findall(r"`([^`\n]+)`", text_of("docs/mqtt.md")))
    assert [topic for topic in topic_patterns() if not any(word.endswith(topic) for word in words)] == []


def message_fields() -> list[str]:
    """Names of all fields of all messages."""
    found = set()
    todo: list[Any] = [messages.Desired, messages.Reported, messages.Presence, messages.Event, messages.Metrics]
    while todo:
        cls = todo.pop()
        hints = get_type_hints(cls)
        for one in fields(cls):
            found.add(one.name)
            todo += [part for part in parts_of(hints[one.name]) if is_dataclass(part)]
    return sorted(found | {"signed", "keyid", "signature", "names"})


def parts_of(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from parts_of(part)


def test_every_field_of_a_message_is_documented() -> None:
    words = set(re.findall(r"[a-z0-9_]+", " ".join(code_of(DOCS / "mqtt.md"))))
    assert [name for name in message_fields() if name not in words] == []


def test_every_frame_and_error_of_the_local_protocol_is_documented() -> None:
    words = set(re.findall(r"[A-Za-z-]+", text_of("docs/protocol.md")))
    assert ({kind.name for kind in Kind} | ERROR_CODES) - words == set()


def server_events() -> set[str]:
    """Kinds of events that the fleet server makes itself."""
    found = set()
    for path in (ROOT / "fleet-server/fleet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                kind = node.args[0]
                if node.func.attr in ("note", "_note") and isinstance(kind, ast.Constant):
                    found.add(str(kind.value))
    return found


def test_every_kind_of_event_is_documented_and_no_other() -> None:
    from fleet.rollout import RolloutState

    told = {f"rollout-{state.value}" for state in RolloutState}
    table = first_cells(sections(text_of("docs/operate.md"))["What the events mean"])
    assert set(messages.EVENT_KINDS) | server_events() <= set(table)
    assert set(table) <= set(messages.EVENT_KINDS) | server_events() | told


def test_the_kinds_of_events_that_travel_are_documented_and_no_other() -> None:
    text = sections(text_of("docs/mqtt.md"))["Event"]
    kinds, _, own = text.partition("Kinds: ")[2].partition("The server adds its own:")
    assert set(re.findall(r"[a-z-]+", kinds)) == set(messages.EVENT_KINDS)
    assert server_events() <= set(re.findall(r"[a-z-]+", own))


def api_calls() -> set[str]:
    """`POST /enroll`, `GET /devices/<id>` ..., as the server takes them."""
    found = set()
    for router in (app.anyone, app.readers, app.administrators):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            path = re.sub(r"\{name\}", "<id>", route.path.removeprefix("/api/v1")).replace("{sha256}", "<sha256>")
            found |= {f"{method} {path}" for method in route.methods or ()}
    return found


def test_every_call_of_the_api_is_documented_and_no_other() -> None:
    told = set()
    for cells in rows(text_of("docs/api.md")):
        *others, last = re.findall(r"`([^`]+)`", cells[0])
        method, path = last.split()
        told |= {f"{one} {path.partition('[')[0]}" for one in (*others, method)}
    assert told == api_calls()


# --- documents among themselves ---------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Anchors of a document's headings, as a forge makes them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", markdown(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_document_that_the_code_names_exists() -> None:
    named = {
        (path.name, name)
        for path in [*sources(), *sorted((ROOT / "tests").rglob("*.py"))]
        for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text())
        if not (ROOT / name).exists()
    }
    assert named == set()


def test_decisions_are_numbered_without_a_gap() -> None:
    found = sorted((DOCS / "decisions").glob("*.md"))
    for number, path in enumerate(found, 1):
        head = path.read_text().splitlines()[0]
        assert path.name.startswith(f"{number:04d}-")
        assert head.startswith(f"# {number}. ")
        assert set(sections(path.read_text())) == {"Context", "Decision", "Consequences"}


def test_files_named_in_the_architecture_exist() -> None:
    table = sections(text_of("docs/architecture.md"))["To change this, go there"]
    names = [
        name for cells in rows(table) for name in re.findall(r"`((?:littoral|agent|fleet-server)/[^`]*)`", cells[1])
    ]
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []


# --- examples ---------------------------------------------------------------------------------------------------


def example(document: str, language: str) -> str:
    """The first block of code in this language."""
    found = re.search(rf"^```{language}\n(.*?)^```", text_of(document), flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_python_of_the_readme_asks_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "device"
    state.mkdir()
    device = Device(state, REAL_HOST, {})
    assets = ensure()
    labels = "".join(f"{label}\n" for label in assets.labels).encode()
    slot = device.add("classifier", 7, assets.classifier.read_bytes(), labels=labels, card=CARD.encode())
    device.record("classifier", slot)
    with Image.open(assets.photos["cat"]) as photograph:
        photograph.convert("RGB").save(tmp_path / "photograph.jpg")
    device.start()
    try:
        monkeypatch.chdir(tmp_path)
        exec(example("README.md", "python"), {})
    finally:
        device.stop()
    best = capsys.readouterr().out.splitlines()[0]
    assert best.startswith("cat ")
    assert best.endswith(", says release 7")


def test_the_card_in_the_documents_is_one_and_holds_every_part_of_a_card() -> None:
    found = card.parse(example("docs/operate.md", "toml"))
    assert all(getattr(found, one.name) for one in fields(card.Card))
    assert set(tomllib.loads(example("docs/operate.md", "toml"))) == {"input", "output", "limits", "needs", "golden"}
