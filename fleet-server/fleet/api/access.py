"""Who is asking: an administrator by token, or the page's reader by its cookie."""

from typing import Annotated

from fastapi import Depends, Request

from fleet.service import Service
from littoral.errors import UnauthorizedError

COOKIE = "littoral"


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Fleet = Annotated[Service, Depends(service_of)]


def administrator(request: Request, service: Fleet) -> None:
    """Lets an administrator's token pass. Raises UnauthorizedError."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not service.store.access.is_admin(token.strip()):
        raise UnauthorizedError("no valid API token came with the request")


def reader(request: Request, service: Fleet) -> None:
    """Lets an administrator's token or the page's cookie pass: what it guards changes nothing."""
    cookie = request.cookies.get(COOKIE)
    if cookie is None or not service.store.access.is_viewer(cookie):
        administrator(request, service)
