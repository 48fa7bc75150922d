import pandas as pd
import pytest

from piqa.evaluation.leaderboard.published import FILE, PUBLISHED_MEASURES, published_entries


def test_the_boards_lines_are_those_of_the_attribute_and_the_split():
    scene, device = published_entries("overall", "scene"), published_entries("overall", "device")
    assert scene["model"].tolist()[-1] == "FULL-HyperIQA" and "SEM-HyperIQA-SO" not in set(scene["model"])
    assert device["model"].tolist()[-1] == "SEM-HyperIQA-SO" and "FULL-HyperIQA" not in set(device["model"])
    last = scene.set_index("model").loc["FULL-HyperIQA", list(PUBLISHED_MEASURES)].to_list()
    assert last == [0.78, 0.78, 0.59, 1.12]  # srocc, plcc, krocc, mae


@pytest.mark.parametrize("attribute, split", [(None, None), ("overall", None), ("sharpness", "scene")])
def test_another_table_has_no_published_lines(attribute, split):
    assert published_entries(attribute, split).empty


def test_every_line_says_what_chose_it_and_where_it_stands():
    board = pd.read_csv(FILE)
    assert len(board) == 36 and not board.duplicated(["model", "attribute", "split"]).any()
    assert (board["selected_on"] == "test").all() and board["source"].str.contains("PIQ2023@").all()
    assert board[["srocc", "plcc", "krocc"]].stack().between(0.4, 0.9).all() and board["mae"].between(0.5, 1.2).all()
