"""Named errors as HTTP answers: `{"error": {"code", "cause", "remedy"}}`, and the status each code has."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from littoral.errors import BadRequestError, InternalError, LittoralError

STATUS = {
    "unauthorized": 401,
    "token-unknown": 401,
    "not-found": 404,
    "token-used": 409,
    "token-expired": 409,
    "name-taken": 409,
    "conflict": 409,
    "release-number": 409,
    "interface-change": 409,
    "internal": 500,
}
OTHERWISE = 400

log = logging.getLogger(__name__)


def answer(error: LittoralError) -> JSONResponse:
    body = {"error": {"code": error.code, "cause": error.cause, "remedy": error.remedy}}
    headers = {"WWW-Authenticate": "Bearer"} if error.code == "unauthorized" else None
    return JSONResponse(body, STATUS.get(error.code, OTHERWISE), headers)


def install(app: FastAPI) -> None:
    """Every way in which a request can go wrong ends in the same shape."""

    @app.exception_handler(LittoralError)
    async def named(request: Request, error: LittoralError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(BadRequestError(first_problem(error)))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        code = "not-found" if error.status_code == 404 else "bad-request"
        body = {"error": {"code": code, "cause": str(error.detail), "remedy": ""}}
        return JSONResponse(body, error.status_code)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return answer(InternalError("the fleet server failed; its log says where"))


def first_problem(error: RequestValidationError | ValidationError) -> str:
    """What is wrong with a body, without repeating what it holds."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'the body'}: {first['msg']}"
