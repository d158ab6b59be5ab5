"""Refusals: every error of a request is one JSON body, `{"error": {"code": ..., "message": ...}}`."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

CODES = {  # HTTP status -> a word for programs
    400: "bad_request", 401: "unauthorised", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    408: "too_slow", 413: "too_large", 415: "wrong_content_type", 422: "cannot_be_heard", 429: "busy",
    500: "our_fault", 504: "timeout",
}  # fmt: skip


class Refusal(Exception):
    def __init__(self, status: int, message: str, **headers: str):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def body(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": CODES.get(status, "error"), "message": message}}


def response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body(status, message), status, headers)


async def refused(request: Request, error: Any) -> JSONResponse:
    return response(error.status, error.message, error.headers)


async def of_framework(request: Request, error: Any) -> JSONResponse:
    return response(error.status_code, str(error.detail), error.headers)


async def invalid(request: Request, error: Any) -> JSONResponse:
    found = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()[:5])
    return response(422, found)


async def fault(request: Request, error: Any) -> JSONResponse:
    return response(500, "The server failed at this request. It is in its log.")
