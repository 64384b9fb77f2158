"""`/mirror/`: what fleet/mirror.py writes into a folder, for a fleet whose mirror is its own server.

Nobody is asked for a token: every device may read it all over MQTT, and none trusts it.
"""

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from fleet.api.access import Fleet
from littoral.errors import NotFoundError

LASTING = {"Cache-Control": "public, max-age=31536000, immutable"}  # named by its digest
CHANGING = {"Cache-Control": "no-cache"}
BYTES = "application/octet-stream"

router = APIRouter(prefix="/mirror")


@router.api_route("/meta/{name}", methods=["GET", "HEAD"])
def get_metadata(name: str, service: Fleet) -> Response:
    return _answer(service.metadata_file(name), CHANGING)


@router.api_route("/chunk/{sha256}", methods=["GET", "HEAD"])
def get_chunk(sha256: str, service: Fleet) -> Response:
    return _answer(service.chunk(sha256), LASTING)


@router.api_route("/blob/{sha256}", methods=["GET", "HEAD"])
def get_blob(sha256: str, service: Fleet) -> Response:
    """Whole, or the part that a Range asks for."""
    path = service.listed_blob(sha256)
    if path is None:
        raise NotFoundError("no listed release has this blob")
    return FileResponse(path, headers=LASTING, media_type=BYTES)


def _answer(data: bytes | None, headers: dict[str, str]) -> Response:
    if data is None:
        raise NotFoundError("there is nothing of this name")
    return Response(data, headers=headers, media_type=BYTES)
