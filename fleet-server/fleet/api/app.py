"""The application: which address does what. Every answer but the page and blobs is JSON."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from fleet.api import errors, mirror, page
from fleet.api.access import Fleet, administrator, reader
from fleet.enrolment import TOKEN_LIFE_S, Application
from fleet.exporting import DAYS, LONGEST_DAYS, NEWEST
from fleet.service import Service
from fleet.steering import Policy
from littoral.bundle.manifest import MAX_BLOB_BYTES
from littoral.errors import BadRequestError, NotFoundError
from littoral.names import check_name
from littoral.wire.messages import MAX_SHADOW_S

ENROL_BYTES = 64 * 1024
SMALL_BYTES = 64 * 1024
RELEASE_BYTES = 4 * 1024 * 1024  # bundle.json and the operator's metadata files
ROOT_BYTES = 16 * 1024 * 1024  # root, targets and the roles of 200 models
LARGEST = 2**53 - 1  # whole number that every reader of JSON keeps

administrators = APIRouter(prefix="/api/v1", dependencies=[Depends(administrator)])
readers = APIRouter(prefix="/api/v1", dependencies=[Depends(reader)])
anyone = APIRouter(prefix="/api/v1")


def make_app(service: Service, status: Callable[[], dict[str, Any]], *, mirrored: bool = False) -> FastAPI:
    """`status` tells what the head of the page shows. mirrored: devices may fetch here too, at /mirror."""
    # Its own documentation pages load scripts from elsewhere; docs/api.md takes their place.
    app = FastAPI(title="Littoral", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.service = service
    app.state.status = status
    errors.install(app)
    for router in (anyone, readers, administrators, page.router, *([mirror.router] if mirrored else [])):
        app.include_router(router)
    return app


# --- bodies -----------------------------------------------------------------------------------------------------


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Enrolment(Body):
    token: str = Field(max_length=200)
    csr: str
    name: str | None = None
    tags: dict[str, str] = {}
    architecture: str


class NewRelease(Body):
    manifest: str
    metadata: dict[str, str]


class NewToken(Body):
    life_s: int = TOKEN_LIFE_S


class NewKeys(Body):
    roles: list[str]


class NewRoot(Body):
    metadata: dict[str, str]


class NewExport(Body):
    models: list[str] = []
    release: int | None = Field(default=None, ge=1, le=LARGEST)
    days: int = Field(default=DAYS, ge=1, le=LONGEST_DAYS)


class NewRollout(Body):
    model: str
    release: int = Field(ge=1, le=LARGEST)
    to: str = "all"
    window: str = ""
    urgent: bool = False
    gate: str = ""
    shadow_s: int = Field(default=0, ge=0, le=MAX_SHADOW_S)


_B = TypeVar("_B", bound=Body)


async def _read(request: Request, limit: int, form: type[_B]) -> _B:
    """The body as `form`. Raises BadRequestError before more than `limit` bytes were read."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise BadRequestError(f"a body of more than {limit} bytes")
    try:
        return form.model_validate_json(bytes(data) or b"{}")
    except ValidationError as error:
        raise BadRequestError(errors.first_problem(error)) from error


def _checked(name: str | None) -> str | None:
    """What a list is asked to be of. Raises BadNameError."""
    return None if name is None else check_name(name)


# --- anyone -----------------------------------------------------------------------------------------------------


@anyone.post("/enroll")
async def enroll(request: Request, service: Fleet) -> dict[str, Any]:
    body = await _read(request, ENROL_BYTES, Enrolment)
    application = Application(body.token, body.csr, body.name, body.tags, body.architecture)
    return await run_in_threadpool(service.enrol, application)


# --- readers ----------------------------------------------------------------------------------------------------


@readers.get("/status")
def get_status(request: Request) -> dict[str, Any]:
    status: dict[str, Any] = request.app.state.status()
    return status


@readers.get("/devices")
def list_devices(service: Fleet) -> list[dict[str, Any]]:
    return service.devices()


@readers.get("/devices/{name}")
def show_device(name: str, service: Fleet) -> dict[str, Any]:
    return service.device(name)


@readers.get("/devices/{name}/judgements")
def list_judgements_of_device(name: str, service: Fleet) -> list[dict[str, Any]]:
    return service.judgements_of(name)


@readers.get("/judgements")
def list_judgements(service: Fleet, limit: Annotated[int, Query(ge=1)] = 30) -> list[dict[str, Any]]:
    return service.judgements(limit)


@readers.get("/releases")
def list_releases(service: Fleet, model: str | None = None) -> list[dict[str, Any]]:
    return service.releases(_checked(model))


@readers.get("/rollouts")
def list_rollouts(service: Fleet, model: str | None = None) -> list[dict[str, Any]]:
    return service.rollouts(_checked(model))


@readers.get("/events")
def list_events(
    service: Fleet,
    limit: Annotated[int, Query(ge=1)] = 100,
    device: str | None = None,
    model: str | None = None,
) -> list[dict[str, Any]]:
    return service.events(limit, device and _checked(device), _checked(model))  # device "": the server's own


@readers.get("/stream")
async def stream(service: Fleet) -> StreamingResponse:
    """Server-sent events `changed` with the nouns that did: devices, releases, rollouts, judgements, events, metrics,
    status."""

    async def changes() -> AsyncIterator[str]:
        yield ": here\n\n"
        async for nouns in service.changes.follow():
            yield f"event: changed\ndata: {json.dumps(nouns)}\n\n" if nouns else ": here\n\n"

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(changes(), media_type="text/event-stream", headers=headers)


# --- administrators ---------------------------------------------------------------------------------------------


@administrators.get("/metadata")
def get_metadata(service: Fleet) -> dict[str, Any]:
    return {"files": service.metadata()}


@administrators.get("/mirror")
def get_mirror(service: Fleet, newest: Annotated[int, Query(ge=1)] = NEWEST) -> dict[str, Any]:
    return service.mirror(newest)


@administrators.api_route("/blobs/{sha256}", methods=["GET", "HEAD"])
def get_blob(sha256: str, service: Fleet) -> FileResponse:
    path = service.store.blobs.path(sha256)
    if not path.is_file():
        raise NotFoundError(f"no blob {sha256} is here")
    return FileResponse(path, media_type="application/octet-stream")


@administrators.put("/blobs/{sha256}", status_code=204)
async def put_blob(sha256: str, request: Request, service: Fleet) -> Response:
    with service.store.blobs.upload(sha256, MAX_BLOB_BYTES) as upload:
        async for part in request.stream():
            upload.write(part)
        await run_in_threadpool(upload.finish)
    return Response(status_code=204)


@administrators.post("/releases", status_code=201)
async def publish(request: Request, service: Fleet) -> dict[str, Any]:
    body = await _read(request, RELEASE_BYTES, NewRelease)
    return await run_in_threadpool(service.publish, body.manifest, body.metadata)


@administrators.get("/keys")
def show_keys(service: Fleet) -> dict[str, Any]:
    return service.keys()


@administrators.post("/keys/next")
async def next_keys(request: Request, service: Fleet) -> dict[str, Any]:
    body = await _read(request, SMALL_BYTES, NewKeys)
    return {"keys": await run_in_threadpool(service.next_keys, body.roles)}


@administrators.post("/keys", status_code=201)
async def rotate_keys(request: Request, service: Fleet) -> dict[str, Any]:
    body = await _read(request, ROOT_BYTES, NewRoot)
    return await run_in_threadpool(service.rotate, body.metadata)


@administrators.post("/tokens", status_code=201)
async def create_token(request: Request, service: Fleet) -> dict[str, str]:
    body = await _read(request, SMALL_BYTES, NewToken)
    return {"token": await run_in_threadpool(service.create_token, body.life_s)}


@administrators.post("/exports", status_code=201)
async def export(request: Request, service: Fleet) -> dict[str, Any]:
    body = await _read(request, SMALL_BYTES, NewExport)
    return await run_in_threadpool(service.export, body.models, body.release, body.days)


@administrators.post("/rollouts", status_code=201)
async def start_rollout(request: Request, service: Fleet) -> dict[str, Any]:
    body = await _read(request, SMALL_BYTES, NewRollout)
    policy = Policy(body.window, body.urgent, body.gate, body.shadow_s)
    return await run_in_threadpool(service.start_rollout, body.model, body.release, body.to, policy)
