"""A service that segments images, with LitServe: requests that come together are one pass of the networks.

    pip install litserve
    python examples/serve_litserve.py --model scenes --port 8000

    import base64, io, requests
    from PIL import Image
    image = base64.b64encode(open("photo.jpg", "rb").read()).decode()
    answer = requests.post("http://127.0.0.1:8000/predict", json={"image": image}).json()
    Image.open(io.BytesIO(base64.b64decode(answer["labels"]))).save("labels.png")

Request: {"image": an image file, base64}. Answer: {"labels": a PNG of class ids at the image's size, base64,
"classes": their names}. What is no image, or has pixels of no known range, is answered with 422 and the reason; others
of its batch are not touched. Other machines reach it with --host 0.0.0.0.
"""

import argparse
import base64
import io

import litserve
import numpy as np
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, field_validator

from magnet import MagNet, MagNetError, Prediction
from magnet.images import rgb_array


def decoded(text: str) -> np.ndarray:
    """The picture in a request, (H, W, 3) uint8; ValueError: it is none."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected a file that Pillow reads, in base64 ({error})") from error
    try:
        return rgb_array(image)
    except MagNetError as error:
        raise ValueError(str(error)) from error


class Question(BaseModel):
    """A bad one is refused here: inside the worker it would be the end of all requests of its batch."""

    image: str

    @field_validator("image")
    @classmethod
    def is_image(cls, text: str) -> str:
        decoded(text)
        return text


class Answer(BaseModel):
    labels: str
    classes: list[str] | None


class Segmentation(litserve.LitAPI):
    """One model a worker; LitServe starts a worker on each device."""

    def __init__(self, model: str, images_per_pass: int) -> None:
        super().__init__(max_batch_size=images_per_pass, batch_timeout=0.02)
        self._name = model

    def setup(self, device: str) -> None:
        self._model = MagNet.from_pretrained(self._name, progress=False).to(device).eval()

    def decode_request(self, request: Question) -> np.ndarray:
        return decoded(request.image)

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Not stacked: each may have a size of its own."""
        return inputs

    def predict(self, images: list[np.ndarray] | np.ndarray) -> list[Prediction]:
        """A list where batches are of more than one."""
        several = images if isinstance(images, list) else [images]
        return list(self._model.predict_many(several, images_per_pass=len(several), probabilities=False))

    def unbatch(self, output: list[Prediction]) -> list[Prediction]:
        return output

    def encode_response(self, output: list[Prediction] | Prediction) -> Answer:
        prediction = output[0] if isinstance(output, list) else output
        file = io.BytesIO()
        Image.fromarray(prediction.labels.byte().numpy()).save(file, "PNG")
        return Answer(labels=base64.b64encode(file.getvalue()).decode(), classes=self._model.class_names)


async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
    """Says what is wrong, without the whole of what was sent."""
    reasons = [{"loc": reason["loc"], "msg": reason["msg"]} for reason in error.errors()]
    return JSONResponse({"detail": reasons}, 422)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="scenes", help="folder of a model, or the name of one of the library's")
    parser.add_argument("--images-per-pass", type=int, default=4)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    server = litserve.LitServer(Segmentation(args.model, args.images_per_pass), accelerator="auto")
    server.app.add_exception_handler(RequestValidationError, refused)
    server.run(host=args.host, port=args.port, generate_client_file=False)
