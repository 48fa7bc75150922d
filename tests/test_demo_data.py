import hashlib
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import spearmanr

from piqa.data import demo
from piqa.errors import InputError
from piqa.system.ownership import MARKER

LABELS_OF_0_1_0 = "88701c0e80df74c1"  # of demo.csv as that version writes it, SHA-256


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    """Two training scenes (one of each sitter) and one test scene."""
    return demo.write_demo(tmp_path_factory.mktemp("demo"), seed=3, scenes=3, test_scenes=1)


def per_scene_srocc(table):
    return [spearmanr(-scene["strength"], scene["score"]).statistic for _, scene in table.groupby("scene")]


def files_of(folder):
    """The content of all files but the marker, which names the run."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MARKER]
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_every_row_of_the_csv_has_its_image_and_the_other_way_round(small_demo):
    table = pd.read_csv(small_demo)
    first = ["image", "score", "scene", "score_std", "split", "condition", "device"]
    assert list(table) == [*first, "score.detail", "score_std.detail", "score.exposure", "score_std.exposure"]
    assert len(table) == 3 * 16
    images = {path.relative_to(small_demo.parent).as_posix() for path in (small_demo.parent / "images").rglob("*.*")}
    assert images == set(table["image"])
    for image in table["image"]:
        with Image.open(small_demo.parent / image) as shot:
            shot.load()
            assert shot.size == demo.SIZE
            assert shot.format == ("JPEG" if "jpeg" in image else "PNG")


def test_every_scene_lies_wholly_in_one_split_and_is_shot_by_every_device():
    table = demo.demo_table(seed=0)
    assert (table.groupby("scene")["split"].nunique() == 1).all()
    assert table.groupby("split")["scene"].nunique().to_dict() == {"train": 30, "test": 6}
    assert all(set(scene["device"]) == set(demo.DEVICES) for _, scene in table.groupby("scene"))


def test_scores_are_centred_and_as_spread_and_as_noisy_as_real_ones():
    scenes = demo.demo_table(seed=0).groupby("scene")
    assert scenes["score"].mean().abs().max() < 1e-3
    assert scenes["score"].std().mean() == pytest.approx(demo.SCORE_SD, abs=0.1)
    assert scenes["score_std"].mean().mean() == pytest.approx(demo.LABEL_NOISE, abs=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_fall_with_the_strength_up_to_the_label_noise(seed):
    srocc = np.mean(per_scene_srocc(demo.demo_table(seed)))
    assert 0.93 < srocc < 0.99


def test_the_scores_of_version_0_1_0_are_the_same():
    table = demo.demo_table(seed=0)
    labels = table[["image", "score", "scene", "score_std", "split", "condition", "device"]].to_csv(index=False)
    assert hashlib.sha256(labels.encode()).hexdigest()[:16] == LABELS_OF_0_1_0


def test_each_attribute_falls_with_what_spoils_it_and_with_nothing_else():
    table = demo.demo_table(seed=0)
    for name, spoiling in (("detail", {"blur", "lowres", "noise", "jpeg"}), ("exposure", {"under", "over"})):
        for device, rows in table[table["device"] != "reference"].groupby("device"):
            share = np.mean([step in spoiling for step in device.split("-")])
            correlation = np.corrcoef(rows["strength"], rows[f"score.{name}"])[0, 1]
            assert correlation < -0.85 if share else abs(correlation) < 0.5, (name, device)
        spread = table.groupby("scene")[f"score.{name}"]
        assert spread.mean().abs().max() < 1e-3
        assert spread.std().mean() == pytest.approx(demo.SCORE_SD, abs=0.1)
        assert table[f"score_std.{name}"].mean() == pytest.approx(demo.LABEL_NOISE, abs=0.02)


def test_labels_of_an_earlier_version_are_renewed_and_its_images_kept(tmp_path, capsys):
    csv = demo.write_demo(tmp_path, seed=2, scenes=2, test_scenes=1)
    now = files_of(tmp_path)
    pd.read_csv(csv)[demo.FORMER_COLUMNS].to_csv(csv, index=False)  # as versions before the attributes wrote it
    (tmp_path / MARKER).unlink()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.*")}
    demo.write_demo(tmp_path, seed=2, scenes=2, test_scenes=1)
    assert "labels renewed, 32 images" in capsys.readouterr().out
    assert files_of(tmp_path) == now
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.*")} == written


@pytest.mark.parametrize("device", [device for device in demo.DEVICES if device != "reference"])
def test_images_move_away_from_the_reference_as_the_strength_grows(device, tmp_path):
    view = demo.Scene.number(1).view(seed=0)

    def error(strength):
        shot, quality = demo.shoot(view, device, strength, np.random.default_rng(0))
        if quality is not None:
            shot.save(tmp_path / "shot.jpg", quality=quality)
            shot = Image.open(tmp_path / "shot.jpg")
        return np.abs(np.asarray(shot, dtype=float) - np.asarray(view, dtype=float)).mean()

    errors = [error(strength) for strength in (0.1, 0.4, 0.7, 1.0)]
    assert errors[0] > 0
    assert errors == sorted(errors)


def test_the_reference_is_the_undistorted_view(small_demo):
    view = demo.Scene.number(0).view(seed=3)
    with Image.open(small_demo.parent / f"images/{demo.Scene.number(0).name}/reference.png") as shot:
        np.testing.assert_array_equal(np.asarray(shot), np.asarray(view))


def test_no_two_scenes_look_the_same():
    views = {demo.Scene.number(index).view(seed=0).tobytes() for index in range(36)}
    assert len(views) == 36


def test_same_seed_gives_the_same_files_and_another_seed_others(small_demo, tmp_path):
    demo.write_demo(tmp_path / "again", seed=3, scenes=3, test_scenes=1)
    assert files_of(tmp_path / "again") == files_of(small_demo.parent)
    other = demo.demo_table(seed=4, scenes=3, test_scenes=1)
    assert not np.allclose(other["score"], pd.read_csv(small_demo)["score"])


def test_a_second_run_writes_nothing(tmp_path, capsys):
    arguments = [str(tmp_path), "--scenes", "3", "--test_scenes", "1"]
    demo.main(arguments)
    assert "written, 48 images, 2 scenes to train on and 1 to test" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    demo.main(arguments)
    assert "already there, 48 images" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_lost_image_or_another_seed_makes_it_draw_again(small_demo, tmp_path):
    csv = demo.write_demo(tmp_path, seed=3, scenes=2, test_scenes=1)
    lost = tmp_path / pd.read_csv(csv)["image"][5]
    lost.unlink()
    demo.write_demo(tmp_path, seed=3, scenes=2, test_scenes=1)
    assert lost.is_file()
    labels = csv.read_text()
    demo.write_demo(tmp_path, seed=4, scenes=2, test_scenes=1)
    assert csv.read_text() != labels


def test_a_stopped_run_leaves_no_csv_and_no_half_image(tmp_path, monkeypatch):
    demo.write_demo(tmp_path, seed=0, scenes=2, test_scenes=1)
    shoot, shots = demo.shoot, []

    def stop_at_the_fifth(*arguments):
        shots.append(arguments)
        if len(shots) == 5:
            raise KeyboardInterrupt
        return shoot(*arguments)

    monkeypatch.setattr(demo, "shoot", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        demo.write_demo(tmp_path, seed=1, scenes=2, test_scenes=1)
    assert not (tmp_path / "demo.csv").exists()
    for path in (tmp_path / "images").rglob("*.*"):
        with Image.open(path) as shot:
            shot.load()


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "demo.csv").write_text("name,mark\nmine,1\n")
    with pytest.raises(InputError, match="are left alone"):
        demo.write_demo(tmp_path, scenes=2, test_scenes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.csv"]
    assert (tmp_path / "demo.csv").read_text() == "name,mark\nmine,1\n"


def test_demo_data_without_a_marker_are_adopted(tmp_path):
    csv = demo.write_demo(tmp_path, scenes=2, test_scenes=1)
    (tmp_path / MARKER).unlink()  # as version 0.1.0 left them
    demo.write_demo(tmp_path, seed=1, scenes=2, test_scenes=1)
    assert csv.is_file() and (tmp_path / MARKER).is_file()


def test_faces_are_found_in_the_undistorted_images_of_both_sitters():
    from facenet_pytorch import MTCNN

    mtcnn = MTCNN(keep_all=True)
    for index in range(2):
        scene = demo.Scene.number(index)
        boxes, probabilities = mtcnn.detect(scene.view(seed=0))
        assert boxes is not None, scene.name
        assert max(probabilities) > 0.95
        assert max(box[2] - box[0] for box in boxes) > 60  # px: large enough to show what was done to it


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit) as end:
        demo.main([str(tmp_path / "file" / "demo")])
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(tmp_path / "file" / "demo") in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told_in_one_line(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(InputError, match=r"cannot write .*locked"):
        demo.write_demo(tmp_path / "locked")


@pytest.mark.parametrize("wrong", [{"scenes": 1}, {"test_scenes": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_refused_by_name(wrong, tmp_path):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        demo.write_demo(tmp_path, **wrong)
