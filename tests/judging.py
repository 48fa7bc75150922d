"""Studies on a server without its background work, as raters and those who run them use it; photos are not measured."""

import io
import re
from contextlib import contextmanager

import numpy as np
from PIL import Image
from sqlalchemy import select
from starlette.testclient import TestClient

from piqa.server.app import create_app
from piqa.server.records import Photo
from piqa.server.settings import ModelSettings, ServerSettings
from piqa.server.study_records import StudyImage

WINDOW = {"window": [1280, 900], "pixel_ratio": 2.0, "zoom": 0.5}
NAMES = ["hall/a.jpg", "hall/b.jpg", "hall/c.jpg", "hall/d.jpg", "park/e.jpg", "park/f.jpg"]


@contextmanager
def quiet_server(data, **settings):
    """A client of the application, whose jobs do not run."""
    app = create_app(ServerSettings(data, **{"scoring": ModelSettings(workers=0)} | settings))
    try:
        yield TestClient(app, base_url="http://localhost", follow_redirects=True)
    finally:
        app.state.services.close()


def picture(number, size=(30, 40), kind="JPEG", **how):
    """An image file of noise, different for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1] // 5, size[0] // 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, kind, **how)
    return file.getvalue()


def new_project(client, files=None):
    """A project with photos by name; by default two scenes."""
    files = {name: picture(number) for number, name in enumerate(NAMES)} if files is None else files
    project = client.post("/api/projects", json={"name": "People"}).json()["id"]
    if files:
        sent = [("images", (name, content, "image/jpeg")) for name, content in files.items()]
        added = client.post(f"/api/projects/{project}/photos", files=sent)
        assert added.status_code == 202 and len(added.json()["photos"]) == len(files), added.text
    return project


def form(project, **more):
    plain = {"training": 0, "repeats": 0, "break_every": 0, "answers": 100, "choice": "random"}
    return {"name": "Study", "project": project} | plain | more


def new_study(client, project, **more):
    """The address of a new study."""
    made = client.post("/judge/studies", data=form(project, **more), follow_redirects=False)
    assert made.status_code == 303, made.text
    return made.headers["location"]


def new_rater(client, study, name="Ann"):
    """The address of a new rater's page."""
    page = client.post(f"{study}/raters", data={"name": name})
    assert page.status_code == 200, page.text
    return re.findall(r"/rate/[\w-]+", page.text)[-1]


def begin(client, rater):
    return client.post(f"{rater}/begin", json={"light": "dim", "distance": 60, "screen": [2560, 1440]}).json()["state"]


def give(client, rater, state, choice, seconds=1.5):
    """Answer the question of a state; the reply."""
    answer = {"question": state["question"]["id"], "choice": choice, "seconds": seconds, **WINDOW}
    return client.post(f"{rater}/answers", json=answer)


def answer_all(client, rater, choose, most=10_000):
    """Answer until the end, or so many times; `choose` gets the addresses of the images. Returns the last state."""
    state = begin(client, rater)
    for _ in range(most):
        if state["phase"] == "break":
            state = client.post(f"{rater}/continue").json()["state"]
        if state["phase"] == "done":
            break
        reply = give(client, rater, state, choose([image["address"] for image in state["question"]["images"]]))
        assert reply.status_code == 200, reply.text
        state = reply.json()["state"]
    return state


def rows_of(client, study):
    """The answers of a study as its CSV tells them."""
    import pandas as pd

    return pd.read_csv(io.StringIO(client.get(f"{study}/answers.csv").text), keep_default_na=False)


def services(client):
    return client.app.state.services


def database(client):
    return services(client).database


def set_photos(client, **values):
    """Write values into all photos."""
    with database(client).session() as session:
        for photo in session.scalars(select(Photo)):
            for name, value in values.items():
                setattr(photo, name, value)


def records(client, table):
    with database(client).session() as session:
        return list(session.scalars(select(table)))


def name_of(client, address):
    """The photo behind an address that a rater sees."""
    return next(one.name for one in records(client, StudyImage) if one.id == address.rpartition("/")[2])
