"""What goes in and out over HTTP, as the interface describes itself at /openapi.json."""

from typing import Any

from pydantic import BaseModel, Field

EVENTS = "application/x-ndjson"


class Rle(BaseModel):
    """COCO's compressed run lengths, by columns; pycocotools decodes them."""

    size: list[int] = Field(description="height and width of the picture")
    counts: str


class Segment(BaseModel):
    name: str = Field(description="of the class, or the expression")
    color: list[int] = Field(description="red, green, blue, of 0 to 255")
    area: int = Field(description="in pixels; of the box where there is no mask")
    bbox: list[float] = Field(description="x, y, width, height, in pixels")
    score: float | None = Field(description="from 0 to 1; null where the model gives none")
    category_id: int | None = Field(None, description="as in the data set of the model")
    expression: str | None = None
    segmentation: Rle | None = Field(None, description="missing of a detector of boxes")


class Answer(BaseModel):
    name: str = Field(description="what the request calls the picture")
    task: str
    width: int
    height: int
    segments: list[Segment]
    not_found: list[str] = Field(description="expressions that mean nothing in the picture")
    seconds: float = Field(description="of reading and the model, without waiting")
    picture: str | None = Field(None, description="the picture as it was read, a PNG as data: URL")


class Refusal(BaseModel):
    error: str = Field(description="why, in one line")


class Health(BaseModel):
    status: str
    waiting: int = Field(description="requests that wait or are answered")
    answered: int = Field(description="since the server has started")


class Description(BaseModel):
    method: str
    weights: str
    device: str
    tasks: list[str] = Field(description="the first is that of requests which name none")
    classes: list[str]
    samples: list[str] = Field(description="names of /samples/0, /samples/1, ...")
    limits: dict[str, float]


_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "task": ({"type": "string"}, "one of the model's; default: its first"),
    "confidence": (
        {"type": "number", "minimum": 0, "maximum": 1},
        "what scores less is left out; default: 0.5 for the task instance, for others all",
    ),
    "expression": (
        {"type": "array", "items": {"type": "string"}},
        "what to look for (task referring); may be given several times",
    ),
    "picture": ({"type": "boolean"}, "the answer holds the picture as it was read, too"),
}
_NAME = ({"type": "string"}, "what to call the picture; of a form its file's name")


def request_of_predict() -> dict[str, Any]:
    """For OpenAPI: a form, or the file itself with the fields in the address."""
    properties = {name: {**schema, "description": text} for name, (schema, text) in _FIELDS.items()}
    image = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, BMP, TIFF, ..."}
    form = {"type": "object", "required": ["image"], "properties": {"image": image, **properties}}
    parameters = [
        {"name": name, "in": "query", "schema": schema, "description": text}
        for name, (schema, text) in {**_FIELDS, "name": _NAME}.items()
    ]
    content = {
        "multipart/form-data": {"schema": form},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    return {"parameters": parameters, "requestBody": {"required": True, "content": content}}
