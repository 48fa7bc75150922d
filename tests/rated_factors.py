"""Writers of small images with labels of several factors, which vary apart from each other."""

import numpy as np
import pandas as pd
from PIL import Image
from rated_images import data_of, trainer_of


def coloured(chroma, noise, seed):
    """Smooth blots of colour of 72 x 72 px, from grey (0) to strong (1), with noise (standard deviation, of 255)."""
    rng = np.random.default_rng(seed)
    blots = np.kron(rng.uniform(-1, 1, (6, 6, 3)), np.ones((12, 12, 1)))
    blots -= blots.mean(axis=2, keepdims=True)
    pixels = 128 + 40 * np.kron(rng.uniform(-1, 1, (6, 6, 1)), np.ones((12, 12, 1))) + 90 * chroma * blots
    return Image.fromarray(np.clip(pixels + rng.normal(0, noise, (72, 72, 3)), 0, 255).astype(np.uint8))


def write_coloured(folder, count=72, seed=0, shuffled=False):
    """Images whose `score` rises with the chroma and whose `score.quality` falls with the noise; returns the CSV.

    With `shuffled`, the labels of training are those of other images; validation's are right.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        chroma, noise = rng.uniform(0, 1), rng.uniform(2, 40)
        coloured(chroma, noise, [seed, number]).save(folder / f"{number}.png")
        rows.append((f"{number}.png", 100 * chroma, 100 - 2 * noise, "all", ("train", "train", "val")[number % 3]))
    table = pd.DataFrame(rows, columns=["image", "score", "score.quality", "scene", "split"])
    return written(table, folder, shuffled)


def written(table, folder, shuffled):
    """Write a table as a CSV; with `shuffled`, the labels of training go to other images, all of a row together."""
    if shuffled:
        train = table.index[table["split"] == "train"]
        labels = [name for name in table if name.startswith("score")]
        order = np.random.default_rng(7).permutation(train)
        table.loc[train, labels] = table.loc[order, labels].to_numpy()
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def correlations(task, csv, epochs, callbacks=(), **settings):
    """Return the measures of validation before and after training."""
    data, trainer = data_of(csv, **settings), trainer_of(epochs, callbacks=list(callbacks))
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    return before, trainer.validate(task, data, verbose=False)[0]
