"""The page at `/`, its files, and the cookie that lets its reader in."""

from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from fleet.api.access import COOKIE, Fleet
from fleet.store.access import page_cookie
from littoral.errors import BadRequestError

FILES = Path(__file__).parent.parent / "web"
FORM_BYTES = 4_096
COOKIE_LIFE_S = 30 * 86_400
HEADERS = {
    # Nothing comes from elsewhere and nothing goes there: the page works without the internet.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

router = APIRouter()


@router.get("/")
def show(request: Request, service: Fleet, token: str | None = None) -> Response:
    """The page for its reader, else a form that asks for the token. `?token=` is as good as the form."""
    if token is not None:
        return _let_in(service, token)
    cookie = request.cookies.get(COOKIE)
    known = cookie is not None and service.store.access.is_viewer(cookie)
    return _file("index.html" if known else "enter.html")


@router.post("/")
async def enter(request: Request, service: Fleet) -> Response:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > FORM_BYTES:
            raise BadRequestError(f"a form of more than {FORM_BYTES} bytes")
    fields = parse_qs(data.decode("utf-8", "replace"))
    return _let_in(service, fields.get("token", [""])[0].strip())


@router.get("/web/{name}")
def file(name: str) -> Response:
    if name not in ("style.css", "app.js", "judgements.js", "icon.svg"):
        return Response(status_code=404)
    return _file(name)


def _let_in(service: Fleet, token: str) -> Response:
    if not service.store.access.is_admin(token):
        return _file("refused.html", 401)
    answer = RedirectResponse("/", 303, HEADERS)
    answer.set_cookie(COOKIE, page_cookie(token), max_age=COOKIE_LIFE_S, httponly=True, samesite="strict")
    return answer


def _file(name: str, status: int = 200) -> FileResponse:
    return FileResponse(FILES / name, status, HEADERS)
