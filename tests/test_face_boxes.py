"""Where the face is in what a network sees: by hand, through the store, in training, scoring and explanation."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from portraits import COLLINS_FACE, HOPPER_FACE, collins, hopper
from refusals import refusal

from piqa import Scorer
from piqa.data.cuts import portrait_seen
from piqa.data.dataset import TrainingPortraits
from piqa.data.options import InputOptions
from piqa.data.sampler import Draw, Step
from piqa.data.transforms import TrainingCrops
from piqa.explanation.explainer import Explainer
from piqa.models import CompositionNet, Focus
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.preparation.faces import Face, Found
from piqa.preparation.portrait import Portrait, Preparation, Preparer
from piqa.preparation.store import PreparedStore
from piqa.preparation.store_entry import write_entry
from piqa.scoring.options import ScoringOptions
from piqa.scoring.table_scores import score_stored
from piqa.tasks import RankingTask
from piqa.tasks.ranking import published_schedule

WHITE, SIZE = 255, 32


def marked():
    """A prepared image of 64 x 48 px, a fifth of its original, whose face (x 16 to 40, y 8 to 24) is white."""
    whole = np.zeros((48, 64, 3), np.uint8)
    whole[8:24, 16:40] = WHITE
    box = (80.0, 40.0, 200.0, 120.0)
    return Portrait(whole, whole[:40, :40], box, None, original_size=(320, 240))


def white_in(pixels):
    """x1, y1, x2, y2 of the white pixels of (3, height, width), as fractions of its sides."""
    rows, columns = (np.flatnonzero((np.asarray(pixels)[0] == WHITE).any(axis=axis)) for axis in (1, 0))
    height, width = pixels.shape[1:]
    return [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]


def test_boxes_in_crops_are_those_that_a_hand_computes():
    seen = portrait_seen(marked(), SIZE, "ten")
    # Crops begin at (x, y) = (0, 0), (32, 0), (0, 16), (32, 16) and (16, 8).
    five = [[0.5, 0.25, 1.25, 0.75], [-0.5, 0.25, 0.25, 0.75], [0.5, -0.25, 1.25, 0.25], [-0.5, -0.25, 0.25, 0.25]]
    five.append([0, 0, 0.75, 0.5])
    mirrored = [[-0.25, 0.25, 0.5, 0.75], [0.75, 0.25, 1.5, 0.75], [-0.25, -0.25, 0.5, 0.25], [0.75, -0.25, 1.5, 0.25]]
    mirrored.append([0.25, 0, 1, 0.5])
    assert seen["face_box"].tolist() == five + mirrored and seen["face_box"].dtype == np.float32
    for pixels, box in zip(seen["whole"], seen["face_box"], strict=True):
        assert white_in(pixels) == np.clip(box, 0, 1).tolist()
    assert portrait_seen(marked(), SIZE, "one")["face_box"].tolist() == [five[-1]]
    assert portrait_seen(marked(), SIZE, "one", "whole")["face_box"].tolist() == [[0.25, np.float32(1 / 6), 0.625, 0.5]]
    assert "face_box" not in portrait_seen(marked(), SIZE, "one", "windows")


def test_a_crop_with_a_border_moves_the_box():
    small = Portrait(marked().whole[:24], marked().whole[:24], (16, 8, 40, 24), None, original_size=(64, 24))
    seen = portrait_seen(small, 35, "one")
    assert seen["face_box"][0] == pytest.approx(white_in(seen["whole"][0]))


def test_boxes_follow_random_crops_and_mirroring():
    crops, seen = TrainingCrops(SIZE, flip=True), set()
    for seed in range(40):
        drawn = crops.inputs(marked(), seed)
        box = drawn["face_box"].tolist()
        assert box[2] - box[0] == 0.75 and box[3] - box[1] == 0.5
        assert white_in(drawn["whole"]) == np.clip(box, 0, 1).tolist()
        seen.add(tuple(box))
    assert len(seen) > 20


def test_boxes_follow_the_mirroring_of_whole_images():
    store = SimpleNamespace(read=lambda path, use: use(marked()))
    table = pd.DataFrame({"path": ["a"], "score": [1.0]})
    data = TrainingPortraits(table, store, InputOptions(view="whole", flip=True))
    batch = data[Step(tuple(Draw(0, 0, seed) for seed in range(20)), 1)]
    boxes = batch["face_box"].tolist()
    assert {(box[0], box[2]) for box in boxes} == {(0.25, 0.625), (0.375, 0.75)}
    for pixels, box in zip(batch["whole"], boxes, strict=True):
        assert white_in(pixels) == pytest.approx(box)


def test_no_face_is_an_empty_box_that_stays_empty():
    faceless = Portrait(marked().whole, marked().whole, None, None, original_size=(320, 240))
    assert not portrait_seen(faceless, SIZE, "ten")["face_box"].any()
    assert not TrainingCrops(SIZE, flip=True).inputs(faceless, 1)["face_box"].any()


# The store


def written(folder, settings, portrait, old):
    """A store with one entry, of this version or without what older ones lack; the path of its source."""
    source = folder / "a.png"
    collins().save(source)
    store = PreparedStore(folder / "store", settings)
    entry = store.entry(source)
    entry.parent.mkdir(parents=True)
    if old:
        portrait = Portrait(portrait.whole, portrait.face_crop, portrait.face_box, None)
    write_entry(entry, portrait, str(source))
    return store, source


def test_the_store_keeps_where_the_face_is(tmp_path):
    store, source = written(tmp_path, Preparation(short_side=48), marked(), old=False)
    found = store.load(source)
    assert found.original_size == (320, 240) and found.relative_box == marked().relative_box
    assert store.build([source], workers=0, progress=False).unplaced == 0


@pytest.mark.parametrize(("resize", "size"), [("short_side", None), ("shrink", (64, 48)), ("keep", (64, 48))])
def test_an_old_entry_tells_it_only_where_nothing_was_resized(tmp_path, resize, size):
    store, source = written(tmp_path, Preparation(short_side=50, resize=resize), marked(), old=True)
    found = store.load(source)
    assert found.original_size == size and found.face_box == marked().face_box
    assert store.build([source], workers=0, progress=False).unplaced == (size is None)
    empty = not portrait_seen(found, SIZE, "one", "whole")["face_box"].any()
    assert empty == (size is None)


def left_edge(whole, face_box):
    """A network: the score is the left edge of the face."""
    return {"score": face_box[:, 0]}


def faces_by_eye(monkeypatch):
    """Let the faces of the two portraits be found at once."""
    boxes = {512: COLLINS_FACE, 600: HOPPER_FACE}  # by the height of the portrait
    monkeypatch.setattr(Preparer, "find_face", lambda self, image: Found(Face(boxes[image.height], 1.0), 0, 0))


def test_a_model_is_evaluated_on_the_files_where_an_old_store_has_lost_the_faces(tmp_path, monkeypatch):
    faces_by_eye(monkeypatch)
    settings = Preparation(short_side=48)
    store, source = written(tmp_path, settings, marked(), old=True)
    scorer, options = Scorer(left_edge, settings, 48, "cpu", view="whole"), ScoringOptions(store=str(store.root))
    scores, broken = score_stored(scorer, pd.Series([str(source)]), options)
    row = scorer.score(source).iloc[0]
    assert broken == [] and scores.loc[str(source), "score"] == pytest.approx(row["score"])
    assert row["score"] == pytest.approx(row["face_x1"] / collins().width) and row["score"] > 0.3


def test_training_on_an_old_store_tells_that_faces_are_not_seen():
    task = RankingTask(Focus(), optimizer=torch.optim.Adam, schedule=published_schedule)
    task._trainer = SimpleNamespace(datamodule=SimpleNamespace(unplaced=3))
    with pytest.warns(UserWarning, match="sees no face in 3 images, .* name another `data.store.folder`"):
        task.on_fit_start()


# Networks


def test_what_cannot_have_a_box_is_refused():
    assert "takes `face_box`, the place of the face in `whole`" in refusal(
        as_scoring_network, lambda face_crop, face_box: {}
    )
    network = as_scoring_network(left_edge)
    network.pools_windows = True
    assert "come without `face_box`" in refusal(as_scoring_network, network)
    assert "made with `face`, and is given no `face_box`" in refusal(
        CompositionNet("test_byobnet", image_size=64, face=True), torch.zeros(1, 3, 64, 64)
    )


def test_boxes_go_with_their_images_and_crops():
    batch = {"whole": [torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 9, 8), torch.zeros(2, 3, 8, 8)]}
    batch["face_box"] = torch.arange(24.0).view(3, 2, 4)
    scores = network_outputs(as_scoring_network(left_edge), batch)["score"]
    assert scores.tolist() == [2, 10, 18]


def test_composition_is_learnt_from_where_the_face_is():
    torch.manual_seed(0)
    network = CompositionNet("test_byobnet", image_size=32, dropout=0.0, saliency=False, hidden=32, face=True)
    left = torch.rand(24, generator=torch.Generator().manual_seed(1)) * 0.7
    boxes = torch.stack([left, left * 0 + 0.2, left + 0.3, left * 0 + 0.6], dim=1)
    images, goal = torch.full((24, 3, 32, 32), 0.5), 2 + 2 * left
    network.backbones.eval().requires_grad_(False)
    optimizer = torch.optim.Adam([one for one in network.parameters() if one.requires_grad], lr=1e-2)
    for _ in range(40):
        loss = (network(images, boxes)["score"] - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = network(images, boxes)["score"].detach()
    assert np.corrcoef(found, goal)[0, 1] > 0.95
    assert network(images, torch.zeros(24, 4))["score"].std() < 1e-4


def by_place(whole, face_crop, face_box):
    """A network whose inputs meet: light of the whole image where the face is, and of the face crop."""
    return {"score": whole.float().mean(dim=(1, 2, 3)) * face_box[:, 0] + face_crop.float().mean(dim=(1, 2, 3))}


def test_the_box_is_exchanged_with_the_image_when_scores_are_explained(monkeypatch):
    faces_by_eye(monkeypatch)
    explainer = Explainer(Scorer(by_place, Preparation(short_side=48, face_rule="none"), 40, "cpu"), test_crops="one")
    own, other = (explainer.features(person()) for person in (collins, hopper))
    found = explainer.explain(own, [other])
    assert set(found.shares) == {"whole", "face"} and set(found.maps) == {"score_whole", "score_face"}
    assert sum(found.shares.values()) == pytest.approx(found.score - other.score, abs=1e-4)
    seen = [explainer._seen(one).inputs for one in (explainer._seer.label(person()) for person in (collins, hopper))]
    light = [float(by_place(one["whole"], 0 * one["face_crop"], one["face_box"])["score"]) for one in seen]
    assert found.shares["whole"] == pytest.approx(light[0] - light[1], abs=1e-3)
