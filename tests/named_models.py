"""Names of small files that a server of the test's own has, in the place of the published ones."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pytest
import timm
import torch
from model_server import ModelServer
from torch import nn

from piqa.weights import registry
from piqa.weights.hosts import google_drive, plain_http

LICENCE = {"code": "MIT", "weights": "none stated", "data": "noise", "commercial": "unknown"}


def saved_bytes(content: object) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def backbone_bytes(seed: int = 0) -> bytes:
    """A file of the layout of LSVQ, of some 1.2 MB: more than the pieces in which files are fetched."""
    torch.manual_seed(seed)
    return saved_bytes({"feature_extraction.norm.weight": torch.rand(300_000)})


class TheirNIMA(nn.Module):
    """IQA-PyTorch's network by its description: the last feature map of timm's network, pooled, and a linear layer."""

    def __init__(self, backbone, classes):
        super().__init__()
        self.base_model = timm.create_model(backbone, features_only=True)
        width = self.base_model.feature_info.channels()[-1]
        last = [nn.Softmax(dim=-1)] if classes > 1 else []
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(width, classes), *last)

    def forward(self, normalised):
        values = self.classifier(self.base_model(normalised)[-1].mean(dim=(2, 3)))
        return values @ torch.arange(1.0, values.shape[1] + 1)


def nima_fields(backbone, side, **more):
    arguments = {"backbone": backbone, "image_size": side, "dropout": 0.0, **more}
    network = {"class_path": "piqa.models.NIMA", "init_args": arguments}
    preparation = {"short_side": side, "face_rule": "none"}
    fields = {"use": "model", "layout": "pyiqa nima", "network": network, "preparation": preparation}
    return fields | {"crop_size": side}


def toml(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inside)}" for key, inside in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


class Names:
    """A registry of the test's own, empty at first.

    Attributes:
        server: Plays the hosts.
    """

    def __init__(self, server: ModelServer, folder, patch: pytest.MonkeyPatch) -> None:
        self.server, self._file, self._tables = server, folder / "registry.toml", {}
        patch.setattr(registry, "FILE", self._file)
        self._write()

    def add(self, name: str, source: Mapping[str, object], **fields: object) -> registry.Entry:
        """Add an entry; by default it is a start of training of LSVQ's layout."""
        self._tables[name] = {"what": "a test's file", "use": "start", "layout": "lsvq", "citation": "nobody"}
        self._tables[name] |= {"source": source, "licence": LICENCE, **fields}
        self._write()
        return registry.entries()[name]

    def plain(self, name: str, **more: object) -> registry.Entry:
        """Add an entry whose file lies at a plain address of the server, /<name>.pth."""
        source = {"host": "http", "url": f"{self.server.url}/{name}.pth", "file": f"{name}.pth"}
        known = {key: more.pop(key) for key in ("sha256", "bytes", "megabytes") if key in more}
        return self.add(name, source | known, **more)

    def _write(self) -> None:
        lines = []
        for name, table in self._tables.items():
            lines += [f"[{json.dumps(name)}]", *(f"{field} = {toml(value)}" for field, value in table.items()), ""]
        self._file.write_text("\n".join(lines), encoding="utf-8")
        registry.entries.cache_clear()


def at_the_server(server: ModelServer, folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every host be the server, and the caches lie in a folder."""
    import requests
    from huggingface_hub import constants, file_download

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setenv("PIQA_HOME", str(folder / "home"))
    monkeypatch.setattr(plain_http, "PAUSE", 0.0)
    monkeypatch.setattr(google_drive, "ADDRESS", server.url)
    ask = requests.Session.request

    def ask_the_server(self, method, url, **settings):
        return ask(self, method, url.replace("https://drive.google.com", server.url), **settings)

    monkeypatch.setattr(requests.Session, "request", ask_the_server)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    for module in (constants, file_download):  # before 1.0 the latter has a copy
        address = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", address, raising=False)
