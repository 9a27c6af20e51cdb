"""A service that segments images, with LitServe: requests that come together are one pass of the networks.

    pip install litserve
    python examples/serve_litserve.py --model scenes --port 8000

    import base64, io, requests
    from PIL import Image
    image = base64.b64encode(open("photo.jpg", "rb").read()).decode()
    answer = requests.post("http://127.0.0.1:8000/predict", json={"image": image}).json()
    Image.open(io.BytesIO(base64.b64decode(answer["labels"]))).save("labels.png")

Request: {"image": an image file, base64}. Answer: {"labels": a PNG of class ids at the image's size, base64,
"classes": their names}. What is no image is answered with 422 and the reason; others of its batch are not touched.
"""

import argparse
import base64
import io

import litserve
from PIL import Image
from pydantic import BaseModel, field_validator

from magnet import MagNet, Prediction


def decoded(text: str) -> Image.Image:
    """The picture in a request; ValueError: it is none."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected a file that Pillow reads, in base64 ({error})") from error
    return image


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

    def decode_request(self, request: Question) -> Image.Image:
        return decoded(request.image)

    def predict(self, images: list[Image.Image] | Image.Image) -> list[Prediction]:
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="scenes", help="folder of a model, or the name of one of the library's")
    parser.add_argument("--images-per-pass", type=int, default=4)
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    server = litserve.LitServer(Segmentation(args.model, args.images_per_pass), accelerator="auto")
    server.run(port=args.port, generate_client_file=False)
