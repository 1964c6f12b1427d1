"""The HTTP service: a task an address, `POST /v1/predict` and so on; docs/serving.md teaches it.

    app = create_app(Service(champion))          # an ASGI application, for uvicorn or any other server

A request is refused with one line, {"detail": "…"}: 4xx where it does not fit, 503 where the service is full, 504 where
it took too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.formparsers import MultiPartException, MultiPartParser

from moso import __version__
from moso.errors import MosoError
from moso.serving.champion import Served
from moso.serving.errors import BusyError, RequestError, SlowUploadError, StoppedError, TooLargeError, status_of
from moso.serving.gate import Stop
from moso.serving.headers import SafeHeaders
from moso.serving.limits import Limits
from moso.serving.openapi import describe_model, operation
from moso.serving.parameters import SERVICE, from_json, from_text, merged
from moso.serving.reading import Body, Upload, brought, parse_json, upload
from moso.serving.service import Service
from moso.serving.writing import Answer, chosen_format, written
from moso.tasks.request import TASKS

log = logging.getLogger("moso.serving")


def create_app(service: Service) -> FastAPI:
    """The application; it looks after the alias while it runs.

    Args:
        service: what is behind it; its model may be loaded before or later (`/readyz` says so).
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.champion.watch()
        yield
        service.close()

    # FastAPI's own pages of documentation load scripts from elsewhere; /openapi.json and docs/serving.md say the same.
    app = FastAPI(
        title="MOSO",
        version=__version__,
        description="Video prediction by motion, scene and object decomposition.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(SafeHeaders)
    app.add_exception_handler(MosoError, _refused)
    app.add_exception_handler(Exception, _failed)
    _add_states(app, service)
    for task in TASKS:
        _add_task(app, service, task)
    return app


def _add_states(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process lives", tags=["state"])
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Whether a model is loaded", tags=["state"], responses={503: {"description": "No"}})
    async def readyz() -> Response:
        ready = service.champion.current is not None
        return JSONResponse({"status": "ready" if ready else "loading"}, 200 if ready else 503)

    @app.get("/metrics", summary="Figures for Prometheus", tags=["state"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @app.get("/v1/model", summary="The model that serves: sizes, version, sampling settings", tags=["state"])
    async def model() -> dict[str, Any]:
        return describe_model(service.champion.get(), service.limits)


def _add_task(app: FastAPI, service: Service, task: str) -> None:
    @app.post(f"/v1/{task}", operation_id=task, tags=["tasks"], response_class=Response, **operation(task))
    async def done(request: Request) -> Response:
        with service.metrics.request(task):
            place = service.gate.enter()
            try:
                query = from_text(task, request.query_params.multi_items())
                body, parameters, is_json = await _body(request, task, service.limits)
                wanted = merged(query, parameters)
                otherwise = "json" if is_json else "npy"
                form = chosen_format(task, wanted.pop("format", None), request.headers.get("accept", ""), otherwise)
                service.champion.get()  # refuse before waiting for a turn
            except BaseException:
                place.leave()
                raise
            answer = await service.run(
                place,
                lambda served, stop: _answered(service, served, task, body, wanted, form, stop),
                request.is_disconnected,
            )
        headers = {**answer.headers, "Content-Disposition": f'attachment; filename="{answer.name}"'}
        return Response(answer.content, media_type=answer.media, headers=headers)


def _answered(
    service: Service, served: Served, task: str, body: Body, wanted: dict[str, Any], form: str, stop: Stop
) -> Answer:
    """In a worker: read, do, write."""
    came = brought(body, served.model, task, wanted, service.limits)
    stop()
    own = {name: value for name, value in wanted.items() if name not in SERVICE}
    result = service.perform(served, task, came.frames, merged(own, came.parameters), stop)
    fps = wanted.get("fps", came.fps)
    answer = written(result, served.model, task, form, fps=fps, each=bool(wanted.get("each")))
    version = {} if served.version is None else {"X-Moso-Version": str(served.version)}
    return Answer(
        answer.content, answer.media, answer.name, {**answer.headers, **version, "X-Moso-Model": served.model.digest}
    )


async def _body(request: Request, task: str, limits: Limits) -> tuple[Body, dict[str, Any], bool]:
    """What came, its parameters, and whether it was JSON."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.body_seconds):
            if media == "multipart/form-data":
                files, fields = await _form(request, limits)
                return Body(files), from_text(task, fields), False
            content = b"".join([chunk async for chunk in _bounded(request, limits.body_bytes)])
    except TimeoutError:
        raise SlowUploadError(f"the body did not come within {limits.body_seconds:g} s") from None
    if media == "application/json":
        found = await asyncio.to_thread(parse_json, content)
        return Body(array=found.get("frames")), from_json(task, found.get("parameters") or {}), True
    if not content:
        return Body(), {}, False
    return Body([upload(content, media=media)]), {}, False


async def _bounded(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body, refused as soon as it is known to be too large: by its announced length, or when it is reached."""
    announced = request.headers.get("content-length", "0")
    total = int(announced) if announced.isascii() and announced.isdigit() else 0
    if total <= most:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                break
            yield chunk
    if total > most:
        raise TooLargeError(f"the body has more than {most} bytes, the most that this service takes")


async def _form(request: Request, limits: Limits) -> tuple[list[Upload], list[tuple[str, str]]]:
    parser = MultiPartParser(
        request.headers,
        _bounded(request, limits.body_bytes),
        max_files=limits.files,
        max_fields=64,
        max_part_size=limits.body_bytes,
    )
    parser.spool_max_size = limits.body_bytes + 1  # in memory, which is bounded: nothing is left in a shared folder
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(f"the body is no form: {error.message}") from None
    files, fields = [], []
    for name, value in form.multi_items():
        if isinstance(value, str):
            fields.append((name, value))
            continue
        content = await value.read()
        await value.close()
        files.append(upload(content, field=name, name=value.filename or "", media=value.content_type or ""))
    return files, fields


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, MosoError)
    if isinstance(error, StoppedError):
        return Response(status_code=499)
    headers = {"Retry-After": "1"} if isinstance(error, BusyError) else None
    return JSONResponse({"detail": " ".join(str(error).split())}, status_of(error), headers=headers)


async def _failed(_: Request, error: Exception) -> Response:
    # Starlette raises it again, and the server logs it with its traceback.
    return JSONResponse({"detail": "the service failed at this; its log says why"}, 500)
