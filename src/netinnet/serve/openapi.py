"""The service's own description (OpenAPI 3.1), as plain data."""

from __future__ import annotations

from typing import Any

from netinnet.serve.decoding import FORM, NPY, PICTURES, RAW
from netinnet.serve.limits import Limits
from netinnet.serve.problems import CODES
from netinnet.version import VERSION

Document = dict[str, Any]


def document(limits: Limits, has_token: bool) -> Document:
    """The description of a service with these limits; whether it asks for a token."""
    paths = {
        "/v1/predict": {"post": _predict(limits)},
        "/v1/model": {
            "get": _get(
                "One model with `model`, all without",
                {"oneOf": [_ref("Model"), _ref("Models")]},
                [MODEL],
                (400, 404),
            )
        },
        "/": {"get": _get("A page", None, [MODEL], (400, 404), kind="text/html")},
        "/healthz": {"get": _get("The process answers", _ref("Status"), [], (), is_open=True)},
        "/readyz": {"get": _get("It takes requests", _ref("Status"), [], (), is_open=True)},
        "/metrics": {"get": _get("For Prometheus", None, [], (), kind="text/plain")},
        "/openapi.json": {"get": _get("This description", {"type": "object"}, [], ())},
    }
    schemes = {scheme: {"type": "http", "scheme": scheme} for scheme in ("bearer", "basic")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nin serve",
            "version": VERSION,
            "description": "Another path is answered with 404, another method with 405.",
        },
        "paths": paths,
        "components": {"schemas": SCHEMAS, **({"securitySchemes": schemes} if has_token else {})},
        **({"security": [{scheme: []} for scheme in schemes]} if has_token else {}),
    }


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Document) -> Document:
    return {"type": "object", "required": [*properties], "properties": properties}


def _option(name: str, about: str, schema: Document) -> Document:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _list(of: Document) -> Document:
    return {"type": "array", "items": of}


TEXT, NUMBER, WHOLE, TRUTH = ({"type": t} for t in ("string", "number", "integer", "boolean"))
MODEL = _option("model", "A model's name; needed where there are several", TEXT)
OPTIONS = [
    MODEL,
    _option(
        "top",
        "How many classes of each picture",
        {**WHOLE, "minimum": 1, "maximum": 999_999, "default": 5},
    ),
    _option("maps", "1: the class maps too", {**WHOLE, "enum": [0, 1], "default": 0}),
    _option(
        "always_answer",
        "1: name classes also of a picture that is none of these",
        {**WHOLE, "enum": [0, 1], "default": 0},
    ),
    _option("shape", f"Sizes of {RAW}: n,height,width,channels or the last two or three", TEXT),
]
SCHEMAS: Document = {
    "Error": _object(
        error=_object(code={**TEXT, "enum": [*CODES.values(), "stopping"]}, message=TEXT)
    ),
    "Status": _object(status=TEXT),
    "Predictions": _object(model=TEXT, version=TEXT, pictures=_list(_ref("Picture"))),
    "Picture": {
        "type": "object",
        "required": ["predictions", "score", "none_of_these"],
        "properties": {
            "predictions": _list(_object(name=TEXT, probability=NUMBER)),
            "score": {"type": ["number", "null"]},
            "none_of_these": TRUTH,
            "class_maps": {"type": "object", "additionalProperties": _list(_list(NUMBER))},
        },
    },
    "Models": _object(models=_list(_ref("Model"))),
    "Model": _object(
        name=TEXT,
        version=TEXT,
        sha256=TEXT,
        network=TEXT,
        classes=_list(TEXT),
        input=_object(channels=WHOLE, height=WHOLE, width=WHOLE),
        parameters=WHOLE,
        calibrated=TRUTH,
        class_maps=TRUTH,
    ),
}


ALWAYS = (408, 431, 500, 503)
"""What may be answered whatever is asked: where a request comes too slowly or its head is too
large, for a fault of the service, and for too many connections."""


def _errors(*statuses: int) -> Document:
    content = {"application/json": {"schema": _ref("Error")}}
    listed = sorted({*statuses, *ALWAYS})
    return {str(s): {"description": CODES[s], "content": content} for s in listed}


def _get(
    about: str,
    schema: Document | None,
    parameters: list[Document],
    errors: tuple[int, ...],
    *,
    kind: str = "application/json",
    is_open: bool = False,
) -> Document:
    guarded = () if is_open else (400, 401, 421)
    return {
        "summary": about,
        "parameters": parameters,
        "responses": {
            "200": {"description": about, "content": {kind: {"schema": schema or TEXT}}},
            **_errors(*errors, *guarded),
        },
        **({"security": []} if is_open else {}),
    }


def _predict(limits: Limits) -> Document:
    files: Document = {**TEXT, "contentMediaType": "image/*"}
    content: Document = {kind: {"schema": {**TEXT, "contentMediaType": kind}} for kind in PICTURES}
    content[FORM] = {"schema": {"type": "object", "additionalProperties": files}}
    content[RAW] = {"schema": {**TEXT, "description": "uint8, with its shape"}}
    content[NPY] = {"schema": {**TEXT, "description": "uint8, NumPy's file format"}}
    shape = {"name": "X-Shape", "in": "header", "description": "Like shape", "schema": TEXT}
    answer = {"application/json": {"schema": _ref("Predictions")}}
    return {
        "summary": "What is in these pictures",
        "description": f"At most {limits.max_body:,} bytes and {limits.max_pictures:,} pictures of "
        f"{limits.max_pixels:,} pixels, {limits.max_side:,} a side.",
        "parameters": [*OPTIONS, shape],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "An entry a picture, in order", "content": answer},
            **_errors(400, 401, 404, 413, 415, 421, 422),
        },
    }
