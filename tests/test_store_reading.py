"""Training draws its crops straight out of the store: the pixels of a crop and no others, and nothing is left open."""

import multiprocessing
from pathlib import Path

import pandas as pd
import pytest
import torch
from look_alike import write_csv_dataset
from stores import flip_in, python
from torch.utils.data import DataLoader
from videos import numbered_frames, write_video

from piqa.data import CSVTable
from piqa.data.datamodule import PortraitData
from piqa.data.dataset import TrainingPortraits
from piqa.data.sampler import Draw, Step
from piqa.data.transforms import TrainingCrops
from piqa.preparation.portrait import STORED_WHOLE, Preparation
from piqa.preparation.store import PreparedStore
from piqa.preparation.store_entry import StoredImage, open_entry
from piqa.preparation.video import ClipPreparation

CROP = 64
PREPARATION = Preparation(short_side=160, face_rule="none")  # several bands, of which a crop needs some
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counted through /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset of 12 images and its store."""
    folder = tmp_path_factory.mktemp("reading")
    write_csv_dataset(folder)
    store = PreparedStore(folder / "store", PREPARATION)
    store.build(sorted(folder.rglob("*.png")), workers=0, progress=False)
    return folder


def images(folder):
    return sorted(map(str, folder.rglob("*.png")))


def dataset(folder, store=None, flip=False):
    table = pd.DataFrame({"path": images(folder), "score": 0.0})
    return TrainingPortraits(table, store or PreparedStore(folder / "store", PREPARATION), CROP, flip)


def step(count=12, seed=0):
    return Step(tuple(Draw(row, 0, seed + row) for row in range(count)), 1)


@pytest.mark.parametrize("flip", [False, True])
def test_crops_out_of_the_store_are_those_of_the_whole_images(folder, flip):
    store, crops = PreparedStore(folder / "store", PREPARATION), TrainingCrops(CROP, flip)
    batch = dataset(folder, flip=flip)[step()]
    for row, image in enumerate(images(folder)):
        whole, face = crops(store.load(image), row)
        assert torch.equal(batch["whole"][row], whole)
        assert torch.equal(batch["face_crop"][row], face)


@pytest.mark.parametrize("encoding", ["raw", "webp"])
def test_crops_of_a_clip_out_of_the_store_are_those_of_its_frames(tmp_path, encoding):
    video = str(write_video(tmp_path / "a.mp4", numbered_frames(60), 25))
    store = PreparedStore(tmp_path / "store", ClipPreparation(frames=3, short_side=32, encoding=encoding))
    store.build([video], workers=0, progress=False)
    data = TrainingPortraits(pd.DataFrame({"path": [video], "score": [0.0]}), store, 16)
    expected = TrainingCrops(16).of_frames(store.load(video).frames, seed=3)
    assert torch.equal(data[Step((Draw(0, 0, 3),), 1)]["whole"], expected[None])


def test_a_draw_reads_the_windows_of_its_crops_alone(folder, monkeypatch):
    windows = []
    cut = StoredImage.__getitem__

    def spy(self, window):
        windows.append([part.stop - part.start for part in window])
        return cut(self, window)

    monkeypatch.setattr(StoredImage, "__getitem__", spy)
    dataset(folder)[step(count=5)]
    assert windows == [[CROP, CROP]] * 10


def test_a_damaged_entry_is_mended_by_the_loaders_worker_that_meets_it(folder):
    sound = dataset(folder)[step()]
    entry = PreparedStore(folder / "store", PREPARATION).entry(images(folder)[3])
    flip_in(entry, STORED_WHOLE)
    steps = [step(), step()]  # whatever its crop is, the damaged band lies in the middle of the image
    loader = DataLoader(dataset(folder), sampler=steps, batch_size=None, num_workers=1)
    for batch in loader:
        assert torch.equal(batch["whole"], sound["whole"])
    with open_entry(entry) as mended:
        mended.read()


def open_files(process="self"):
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def memory(process="self"):
    """Resident memory in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@NEEDS_PROC
def test_thousands_of_draws_leave_no_file_open_and_no_memory_behind(folder):
    data = dataset(folder)
    for seed in range(20):
        data[step(seed=seed)]
    files, before = open_files(), memory()
    for seed in range(400):  # 4800 draws; each kept would take 24 kB, or its entry 100 kB
        data[step(seed=seed)]
    assert open_files() == files
    assert memory() - before < 20


@NEEDS_PROC
def test_epochs_with_persistent_workers_start_no_process_and_keep_no_file_or_memory(folder):
    data = PortraitData(
        CSVTable(folder / "portraits.csv"), PREPARATION, str(folder / "store"), CROP, workers=2, prepare_workers=0
    )
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    before = None
    for epoch in range(60):
        loader.sampler.set_epoch(epoch)
        assert sum(len(batch["index"]) for batch in loader) == len(data.splits["train"])
        if epoch == 9:
            before = usage()
    after = usage()
    assert after.keys() == before.keys()
    assert len(after) == 2
    for process, (files, megabytes) in after.items():
        assert abs(files - before[process][0]) < 20  # tensors on their way to this process are open files for a moment
        assert megabytes - before[process][1] < 20


def usage():
    """Open files and memory of each worker process."""
    numbers = [child.pid for child in multiprocessing.active_children()]
    return {number: (open_files(number), memory(number)) for number in numbers}


def test_a_draw_starts_no_process(folder):
    script = """
import pandas as pd
from piqa.data.dataset import TrainingPortraits
from piqa.data.sampler import Draw, Step
folder, crop, short_side = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = PreparedStore(folder / "store", Preparation(short_side=short_side, face_rule="none"))
table = pd.DataFrame({"path": sorted(map(str, folder.rglob("*.png"))), "score": 0.0})
data = TrainingPortraits(table, store, crop)
started = []
names = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "_posixsubprocess.fork_exec"}
sys.addaudithook(lambda name, _: started.append(name) if name in names else None)
for seed in range(5):
    data[Step(tuple(Draw(row, 0, seed) for row in range(12)), 1)]
assert started == [], started
os.system("true")
assert started, "the hook does not hear"
"""
    process = python(script, folder, CROP, PREPARATION.short_side)
    assert process.communicate(timeout=120)[1] == "" and process.returncode == 0
