"""The thesis's way of serving, as a web server: `python -m benchmarks.thesis_service WEIGHTS`.

One request at a time. For each, a ResNet18 is loaded from its weights file, the image is cut into 15 PNG files in a
folder, these are read back through `ImageFolder` and a `DataLoader` with four workers in batches of four, in float32,
and the votes are counted. The port is printed once it listens.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from classifier.grid import COVER

BATCH_SIZE = 4
WORKERS = 4
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_weights(path: Path) -> None:
    """Write a weights file of random weights, as `torch.save` does."""
    torch.manual_seed(0)
    torch.save(models.resnet18(num_classes=2).state_dict(), path)


def analyse(data: bytes, weights: Path, device: str) -> dict[str, object]:
    """Classify one image, from the upload to the verdict."""
    module = models.resnet18(num_classes=2)
    module.load_state_dict(torch.load(weights, weights_only=True))
    module.to(device).eval()
    with tempfile.TemporaryDirectory() as folder:
        _cut(data, Path(folder) / "patches")
        files = ImageFolder(folder, Compose([ToTensor(), Normalize(_MEAN, _STD)]))
        votes = 0
        with torch.no_grad():
            for patches, _ in DataLoader(files, batch_size=BATCH_SIZE, num_workers=WORKERS):
                votes += int(module(patches.to(device)).argmax(dim=1).sum())
    return {"verdict": "malignant" if 2 * votes > len(files) else "benign", "votes": votes, "patches": len(files)}


def _cut(data: bytes, folder: Path) -> None:
    folder.mkdir()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    for box in COVER.boxes(*picture.size):
        patch = picture.crop((box.x, box.y, box.x + box.width, box.y + box.height))
        patch.save(folder / f"{box.row}-{box.column}.png")


def main(weights: Path, device: str) -> None:
    """Serve until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(analyse(data, weights, device)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "cpu")  # noqa: PLR2004
