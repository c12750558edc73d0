"""The HTTP interface, in process."""

import base64
import io
import json
from collections.abc import Iterator

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image
from served import NAMES, Bands, app_of, encoded, picture
from starlette.testclient import TestClient

from d2seg.serving.questions import Limits
from d2seg.serving.schemas import Answer, Description

LIMITS = Limits(max_bytes=200_000, max_pixels=20_000, max_expressions=3, max_letters=20)
OWN = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def model() -> Bands:
    return Bands()


@pytest.fixture(scope="module")
def client(model: Bands) -> Iterator[TestClient]:
    with TestClient(app_of(model, LIMITS), base_url=OWN, raise_server_exceptions=False) as opened:
        yield opened


def test_a_form_and_a_plain_body_give_the_same(client: TestClient) -> None:
    png = encoded()
    form = client.post("/predict", files={"image": ("a/b/street.png", png)})
    body = client.post("/predict?name=street.png", content=png)
    assert form.status_code == body.status_code == 200
    found, again = (each.json() for each in (form, body))
    assert {**found, "seconds": 0} == {**again, "seconds": 0}
    Answer.model_validate(found)
    assert (found["name"], found["task"]) == ("street.png", "instance")
    assert (found["width"], found["height"]) == (80, 60)
    assert [one["name"] for one in found["segments"]] == list(NAMES)
    for number, one in enumerate(found["segments"]):
        mask = mask_util.decode(one["segmentation"])
        assert np.array_equal(mask == 1, picture()[:, :, 0] // 64 == number)


def test_fields_reach_the_model(client: TestClient, model: Bands) -> None:
    fields = {"task": "referring", "confidence": "0.25", "expression": ["cat", "a bird"]}
    found = client.post("/predict", data=fields, files={"image": encoded()}).json()
    assert found["not_found"] == ["a bird"]
    assert model.asked[-1] == ((60, 80, 3), "referring", 0.25, ("cat", "a bird"))
    client.post("/predict", params={"task": "semantic"}, content=encoded())
    assert model.asked[-1] == ((60, 80, 3), "semantic", None, ())


def test_the_picture_comes_back_for_browsers_that_cannot_read_it(client: TestClient) -> None:
    grey = (np.arange(4800, dtype=np.uint16) * 13).reshape(60, 80)
    found = client.post("/predict?picture=true", content=encoded(grey, "TIFF")).json()
    kind, _, text = found["picture"].partition(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    assert np.array_equal(pixels[..., 0], (grey.astype(int) + 128) // 257)


def test_places_in_the_line_come_as_lines(client: TestClient) -> None:
    accept = {"accept": "application/x-ndjson"}
    answer = client.post("/predict", content=encoded(), headers=accept)
    assert answer.headers["content-type"] == "application/x-ndjson"
    *places, last = map(json.loads, answer.text.splitlines())
    assert all(set(place) == {"ahead"} for place in places)
    assert last["answer"]["width"] == 80
    answer = client.post("/predict", content=b"no picture", headers=accept)
    *_, last = map(json.loads, answer.text.splitlines())
    assert last["status"] == 422
    assert "it is no picture" in last["error"]


BOMB = encoded(np.zeros((200, 200, 3), np.uint8))
CASES = [
    (b"", {}, 400, "the request has no picture: send the file as the body"),
    (b"no picture", {}, 422, "cannot read the image picture: it is no picture, or a damaged one"),
    (encoded()[:120], {}, 422, "cannot read the image picture: "),
    (BOMB, {}, 422, "it has 200x200 pixels (width x height), more than 20000"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", {}, 422, "it is no picture"),
    (encoded(kind="PCX"), {}, 422, "it is no picture"),  # a decoder that is left out
    (bytes(200_001), {}, 413, "the picture's file has 0.2 MB or more; at most 0.2 MB are taken"),
    (encoded(), {"task": "panoptic"}, 422, "task is 'panoptic'; this model offers instance, "),
    (encoded(), {"confidence": "1.5"}, 422, "confidence is '1.5'; it is a number from 0 to 1"),
    (encoded(), {"confidence": "nan"}, 422, "confidence is 'nan'; it is a number from 0 to 1"),
    (encoded(), {"picture": "maybe"}, 422, "picture is 'maybe'; it is true or false"),
    (encoded(), {"confidense": "1"}, 400, "no field 'confidense'; the nearest is 'confidence'"),
    (encoded(), {"task": ["semantic"] * 2}, 400, "the field 'task' is given 2 times"),
    (encoded(), {"expression": ["a"] * 4}, 422, "there are 4 expressions; at most 3 are taken"),
    (encoded(), {"expression": "a" * 21}, 422, "has 21 letters; at most 20 are taken"),
    (encoded(), {"expression": "nonsense"}, 422, "no word of 'nonsense' is known"),
    (encoded(), {"expression": "explode"}, 500, "the model failed on picture with RuntimeError"),
    (encoded(), {"expression": "nothing"}, 500, "scores that are no finite numbers"),
    (b"x", {"name": "../a\n\x1b[31m.png"}, 422, "image a\\n\\x1b[31m.png: it is no picture"),
]


@pytest.mark.parametrize(("body", "fields", "status", "line"), CASES)
def test_refusals_are_one_line(
    client: TestClient, body: bytes, fields: dict, status: int, line: str
) -> None:
    answer = client.post("/predict", params=fields, content=body)
    assert answer.status_code == status
    (text,) = answer.json().values()
    assert line in text
    assert "\n" not in text
    assert client.post("/predict", content=encoded()).status_code == 200  # it goes on


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"picture": ("a.png", encoded())}, 'the form has no file "image"'),
        ([("image", ("a.png", encoded())), ("image", ("b.png", b""))], "Too many files"),
        ({"image": ("a.png", b"")}, "the request has no picture"),
        ({"image": ("a.png", bytes(300_000))}, "the picture's file has 0.3 MB or more"),
    ],
)
def test_forms_that_do_not_fit(client: TestClient, files: dict | list, line: str) -> None:
    answer = client.post("/predict", files=files)
    assert answer.status_code in (400, 413)
    assert line in answer.json()["error"]


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_forms_that_are_none(client: TestClient, kind: str) -> None:
    answer = client.post("/predict", content=encoded(), headers={"content-type": kind})
    assert answer.status_code == 400
    assert "form" in answer.json()["error"]


def test_what_is_not_there(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/predict", 405),
        ("GET", "/page/../../app.py", 404),
        ("GET", "/page/%2e%2e/app.py", 404),
        ("GET", "/samples/1", 404),
        ("GET", "/samples/-1", 404),
        ("GET", "/samples/..%2fapp.py", 404),
        ("GET", "/samples/x", 422),
        ("GET", "/redoc", 404),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"].count("\n") == 0


def test_it_describes_itself(client: TestClient, model: Bands) -> None:
    about = client.get("/model").json()
    Description.model_validate(about)
    assert about["tasks"] == list(model.tasks)
    assert about["limits"]["max_bytes"] == 200_000
    assert client.get("/samples/0").content == encoded()
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["waiting"] == 0
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/health", "/model", "/samples/{number}"}
    body = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/octet-stream"}


class TestGuard:
    @pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost"])
    def test_names_of_this_machine(self, client: TestClient, host: str) -> None:
        assert client.get("/health", headers={"host": host}).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "attacker.example",
            "127.0.0.1.attacker.example",
            "localhost@attacker.example",
            "",
            "[::1",
        ],
    )
    def test_rebound_names(self, client: TestClient, host: str) -> None:
        answer = client.get("/health", headers={"host": host})
        assert answer.status_code == 403
        assert "ask for 127.0.0.1 or localhost" in answer.json()["error"]

    @pytest.mark.parametrize(
        "origin",
        ["null", "http://attacker.example", "http://127.0.0.1:1", "https://127.0.0.1:7860"],
    )
    def test_foreign_pages(self, client: TestClient, model: Bands, origin: str) -> None:
        number = len(model.asked)
        answer = client.post("/predict", content=encoded(), headers={"origin": origin})
        assert answer.status_code == 403
        assert len(model.asked) == number
        assert client.get("/health", headers={"origin": OWN}).status_code == 200

    def test_headers(self, client: TestClient) -> None:
        headers = client.get("/").headers
        assert "default-src 'none'; script-src 'self';" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert headers["x-content-type-options"] == "nosniff"
        preflight = client.options("/predict", headers={"access-control-request-method": "POST"})
        assert "access-control-allow-origin" not in preflight.headers


def test_no_file_of_the_page_is_on_another_host(client: TestClient) -> None:
    for path in ("/", "/docs", "/page/style.css", "/page/main.js", "/page/saving.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "//cdn" not in answer.text
        assert "http://" not in answer.text.replace("http://www.w3.org", "")
        assert "https://" not in answer.text
