"""One way through all pages in Chromium: photographs are uploaded, seen, compared and judged, and train a model."""

import pandas as pd
import pytest
from browser import needs_browser, wait_for_page
from served import PATIENCE, served

from piqa import fit
from piqa.data.demo import Scene

pytestmark = [needs_browser, pytest.mark.slow]
SCENES = {"hall": 4, "garden": 3, "street": 3}  # images each: 12 pairs in all


@pytest.fixture
def shots(tmp_path):
    for number, (scene, count) in enumerate(SCENES.items()):
        (tmp_path / "shots" / scene).mkdir(parents=True)
        for view in range(count):
            Scene.number(number).view(view).resize((160, 200)).save(tmp_path / "shots" / scene / f"{view}.png")
    return tmp_path / "shots"


def judge(page, link, answers):
    """Answer all questions of a rater, now for the left image and now for the right one."""
    page.goto(link)
    page.check("input[value=dim]")
    page.keyboard.press("Enter")
    seen = None
    for number in range(answers):
        page.wait_for_selector("#viewer[data-question] figure:not(.loading)")
        page.wait_for_function("before => document.querySelector('#viewer').dataset.question !== before", arg=seen)
        seen = page.get_attribute("#viewer", "data-question")
        page.keyboard.press("ArrowLeft" if number % 3 else "ArrowRight")
    page.wait_for_selector("#done:not([hidden])")


def test_photographs_become_a_model_by_way_of_the_pages(chromium, shots, tmp_path):
    with served(tmp_path / "data") as client:
        context = chromium.new_context(locale="en", reduced_motion="reduce")
        context.set_default_timeout(1000 * PATIENCE)
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(str(client.base_url))
        page.get_by_label("Name of the project").fill("Lab")
        page.keyboard.press("Enter")
        wait_for_page(page, "#folder", state="attached")
        page.set_input_files("#folder", shots)
        wait_for_page(page, "table.portraits")
        assert page.locator("table.portraits tbody tr").count() == sum(SCENES.values())
        project = page.url
        page.locator("table.portraits tbody th a").first.click()
        page.wait_for_selector(".factor")
        page.goto(project)
        for box in page.locator("tbody .choose").all()[:2]:
            box.check()
        page.get_by_role("button", name="Compare the two chosen").click()
        page.wait_for_selector(".viewer")
        page.get_by_role("link", name="Judge", exact=True).click()
        page.get_by_label("Name of the study").fill("The better one")
        page.get_by_label("Answers of each rater").fill("12")
        for label in ("Training examples", "Hidden repeats", "Answers between breaks"):
            page.get_by_label(label).fill("0")
        page.get_by_role("button", name="Create the study").click()
        page.get_by_label("Name of a new rater").fill("Ann")
        page.keyboard.press("Enter")
        study, link = page.url, page.get_by_label("Link of Ann").input_value()
        judge(page, link, 12)
        page.goto(study)
        with page.expect_download() as download:
            page.get_by_role("link", name="Scores as CSV").click()
        download.value.save_as(tmp_path / "scores.csv")
        context.close()
        assert said == []
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert scores.groupby("scene").size().to_dict() == {f"shots/{scene}": count for scene, count in SCENES.items()}
    assert (scores["score_std"] > 0).all() and scores.groupby("scene")["score"].mean().abs().max() < 1e-6
    settings = {
        "model.network.backbone": "test_resnet",
        "model.network.branches": "[whole]",
        "model.network.image_size": 64,
        "model.init.whole": "scratch",
        "model.target": "score_std",
        "data.table": "piqa.data.CSVTable",
        "data.table.csv": tmp_path / "scores.csv",
        "data.table.root": tmp_path,
        "data.table.test_fraction": 0.3,
        "data.validation_fraction": 0.5,
        "data.preparation.liqe": "null",
        "data.preparation.short_side": 72,
        "data.inputs.crop_size": 64,
        "data.store.folder": tmp_path / "store",
        "data.store.workers": 0,
        "data.loading.workers": 0,
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "out": tmp_path / "run",
    }
    fit.main(["--config", "piqa.yaml", *(part for key, value in settings.items() for part in (f"--{key}", str(value)))])
    assert (tmp_path / "run" / "model.safetensors").is_file()
