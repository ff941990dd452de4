"""The paths of the Open Inference Protocol v2, and /health and /metrics."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import engine
from engine.errors import InputError, one_line
from engine.serving.batcher import Batcher
from engine.serving.errors import RequestError
from engine.serving.guard import Places, check_token, read_body
from engine.serving.metrics import Metrics
from engine.serving.models import MODELS, Model, model_named
from engine.serving.request import InferRequest, parse_request
from engine.serving.response import encode_response
from engine.serving.sequences import Sequences
from engine.serving.settings import Settings
from engine.serving.tensors import Limits
from engine.types import Flow

_log = logging.getLogger(__name__)
_EXTENSIONS = ["binary_tensor_data", "sequence", "sequence(string_id)"]


class Service:
    """Answers requests with an engine; all methods run in one event loop."""

    def __init__(self, flow_engine: engine.FlowEngine, settings: Settings) -> None:
        """Use an open engine, which stays the caller's; start threads that run until `close`."""
        self._engine, self._settings = flow_engine, settings
        self._metrics = Metrics()
        self._places = Places(settings.queue)
        self._sequences = Sequences(settings.sequences, settings.idle)
        self._limits = Limits(pairs=settings.max_batch, pixels=settings.max_pixels)
        self._batcher = Batcher(
            flow_engine.infer,
            most=settings.max_batch,
            window=settings.window,
            workers=flow_engine.streams,
            on_batch=self._metrics.batches.observe,
        )

    def close(self) -> None:
        """Compute what is queued, and end the threads; a second call does nothing."""
        self._batcher.close()

    async def server(self, request: Request) -> Response:
        """Describe the server."""
        content = {"name": "flownet-engine", "version": engine.__version__}
        return JSONResponse(content | {"extensions": _EXTENSIONS})

    async def alive(self, request: Request) -> Response:
        """Answer whether the server runs: it does."""
        return JSONResponse({})

    async def health(self, request: Request) -> Response:
        """Say that the server runs, and what it runs."""
        manifest, backend = self._engine.manifest, self._engine.backend
        return JSONResponse(
            {
                "status": "ok",
                "network": manifest.network,
                "precision": manifest.precision,
                "backend": backend.name,
                "device": backend.device,
            }
        )

    async def metrics(self, request: Request) -> Response:
        """Return the figures for Prometheus."""
        self._metrics.sequences.set(len(self._sequences))
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def model(self, request: Request) -> Response:
        """Describe a model."""
        return JSONResponse(model_named(**request.path_params).metadata())

    async def model_ready(self, request: Request) -> Response:
        """Answer whether a model is ready: both are."""
        model_named(**request.path_params)
        return JSONResponse({})

    async def infer(self, request: Request) -> Response:
        """Compute a flow."""
        name = request.path_params["name"]
        with self._metrics.request(name if name in MODELS else "unknown") as outcome:
            try:
                model = model_named(**request.path_params)
                with self._places.taken():
                    response = await self._answer(model, request)
            except RequestError as error:
                outcome.status = error.status
                raise
            outcome.status = response.status_code
        return response

    async def _answer(self, model: Model, request: Request) -> Response:
        late = RequestError(408, "the request did not arrive in time; send it faster.")
        try:
            async with asyncio.timeout(self._settings.timeout):
                body = await read_body(request, self._settings.max_bytes)
                late = RequestError(
                    504, f"no flow in {self._settings.timeout:g} s: the server is busy. Ask again."
                )
                length = request.headers.get("inference-header-content-length")
                asked = parse_request(body, length, model, self._limits)
                flow = await self._flow(model, asked)
        except TimeoutError:
            raise late from None
        content, headers = encode_response(model, asked, flow)
        return Response(content, headers=headers)

    async def _flow(self, model: Model, asked: InferRequest) -> Flow:
        images = [asked.images[name] for name in model.inputs]
        if model.is_sequence:
            (frame,) = images
            if asked.sequence is None or len(frame) != 1:
                raise RequestError(
                    400,
                    f"{model.name} takes one frame, [1, height, width, 3], with the parameter "
                    "sequence_id; got "
                    + ("no sequence_id." if asked.sequence is None else f"{len(frame)} frames."),
                )
            before = self._sequences.follow(asked.sequence, frame)
            if before is None:
                return np.zeros((*frame.shape[:3], 2), np.float32)
            images = [before, frame]
        first, second = images
        if first.shape != second.shape:
            raise RequestError(
                400, f"image1 has shape {first.shape} and image2 {second.shape}; expected the same."
            )
        try:
            return await asyncio.wrap_future(self._batcher.submit(first, second))
        except InputError as error:
            raise RequestError(400, str(error)) from error
        except engine.EngineError as error:
            _log.error("%s", one_line(error))
            raise RequestError(500, str(error)) from error


def build_app(service: Service, token: str | None) -> Starlette:
    """Return the application.

    Args:
        service: what answers; it stays the caller's.
        token: that requests have to show, if any.
    """

    def get(path: str, answer: Any) -> Route:
        return Route(path, _guarded(answer, token), methods=["GET"])

    def post(path: str, answer: Any) -> Route:
        return Route(path, _guarded(answer, token), methods=["POST"])

    routes = [
        get("/health", service.health),
        get("/metrics", service.metrics),
        get("/v2", service.server),
        get("/v2/health/live", service.alive),
        get("/v2/health/ready", service.alive),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes.append(get(path, service.model))
        routes.append(get(f"{path}/ready", service.model_ready))
        routes.append(post(f"{path}/infer", service.infer))
    handlers: Any = {
        RequestError: _request_error,
        HTTPException: _http_error,
        Exception: _unexpected,
    }
    return Starlette(routes=routes, exception_handlers=handlers)


def _guarded(answer: Any, token: str | None) -> Any:
    async def checked(request: Request) -> Response:
        check_token(request, token)
        response: Response = await answer(request)
        return response

    return checked


async def _request_error(request: Request, error: RequestError) -> Response:
    headers = {"retry-after": "1"} if error.status == 503 else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _error(str(error), error.status, headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    text = f"{request.method} {request.scope['path']}"
    advice = "see /v2/models/flow_pair for a model"
    return _error(f"{text:.120}: {error.detail}; {advice}.", error.status_code, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _error(f"the server failed: {type(error).__name__}.", 500)


def _error(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    # In ASCII: names that a client sends may hold halves of surrogate pairs, which UTF-8 lacks.
    return Response(json.dumps({"error": text}), status, headers, "application/json")
