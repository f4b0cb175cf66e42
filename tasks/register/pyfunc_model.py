"""The registered model as MLflow runs it: images and prompts in, answers out.

MLflow copies this file next to the weights ("models from code") and executes it wherever the model is served. It
imports nothing of this project: mlflow, torch, transformers and pillow are all it needs, and the last three only once
the model is loaded. The weights are the artifact `model`, an ordinary Hugging Face folder; or the artifact `weights`
names such a folder elsewhere ({"uri", "digest"}), which is fetched by fsspec and compared with its digest.

Columns: `image`, a base64-encoded image file (a data URI will do) or "" for none; `prompt`, the user's words.
Parameters: `max_new_tokens`, and `temperature`, where 0 decodes greedily.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas  # type: ignore[import-untyped]
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IMAGE_BYTES = 20_000_000
CHUNK = 1 << 20


def decode_image(text: str) -> Image | None:
    """The image of a cell of the `image` column; None for an empty cell. Raises ValueError if it is no image."""
    from PIL import Image as Pillow

    payload = text.rpartition(",")[2] if text.startswith("data:") else text
    if not payload:
        return None
    if len(payload) > MAX_IMAGE_BYTES * 4 // 3:
        raise ValueError(f"the image is larger than {MAX_IMAGE_BYTES} bytes")
    try:
        return Pillow.open(io.BytesIO(base64.b64decode(payload, validate=True))).convert("RGB")
    except (binascii.Error, OSError, Pillow.DecompressionBombError) as error:
        raise ValueError(f"the image column must hold a base64-encoded image file or be empty: {error}") from error


def folder_digest(folder: Path) -> str:
    """sha256 over the sorted table of a folder's files (path, size, sha256), as artifacts of the pipeline have it."""
    table = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = hashlib.sha256()
        with path.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                digest.update(chunk)
        table.append([path.relative_to(folder).as_posix(), path.stat().st_size, digest.hexdigest()])
    text = json.dumps(sorted(table), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def linked_folder(link: Path) -> Path:
    """The folder that a link names, a local copy if it lies elsewhere. Raises ValueError if it is not as it was."""
    told = json.loads(link.read_text(encoding="utf-8"))
    uri, digest = str(told["uri"]), str(told["digest"])
    folder = Path(uri.removeprefix("file://"))
    if "://" in uri and not uri.startswith("file://"):
        import fsspec

        folder = Path(tempfile.mkdtemp(prefix="weights-"))
        filesystem, path = fsspec.core.url_to_fs(uri)
        filesystem.get(path.rstrip("/") + "/", str(folder), recursive=True)
    if not folder.is_dir() or folder_digest(folder) != digest:
        raise ValueError(f"the weights at {uri} are gone or were altered since this version was registered")
    return folder


class LlavaModel(PythonModel):
    """A `LlavaForConditionalGeneration` behind MLflow's predict."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load weights and processor from the artifact folder."""
        import torch
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        linked = context.artifacts.get("weights")
        folder = str(linked_folder(Path(linked))) if linked else context.artifacts["model"]
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call, unused-ignore]
        self.model: Any = LlavaForConditionalGeneration.from_pretrained(folder)
        self.model.eval().to(device)  # type: ignore[no-untyped-call, unused-ignore]

    def predict(
        self, context: PythonModelContext, model_input: pandas.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        """One answer a row, in the order of the rows."""
        options = params or {}
        tokens, temperature = int(options.get("max_new_tokens", 64)), float(options.get("temperature", 0.0))
        columns = zip(model_input["image"].fillna(""), model_input["prompt"], strict=True)
        return [self.answer(str(image), str(prompt), tokens, temperature) for image, prompt in columns]

    def answer(self, image_text: str, prompt: str, max_new_tokens: int, temperature: float) -> str:
        """The model's reply to one prompt."""
        import torch

        image = decode_image(image_text)
        content = [{"type": "image"}] if image is not None else []
        chat = [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]
        text = self.processor.apply_chat_template(chat, add_generation_prompt=True)
        inputs = self.processor(text=text, images=image, return_tensors="pt").to(self.model.device)
        if image is not None:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        with torch.inference_mode():
            output = self.model.generate(**inputs, max_new_tokens=max_new_tokens, **sampling)
        reply = output[0, inputs["input_ids"].shape[1] :]
        return str(self.processor.decode(reply, skip_special_tokens=True)).strip()


mlflow.models.set_model(LlavaModel())
