import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from documentation import parsed
from small_clip import VIT

SCRIPTS = Path(__file__).parents[1] / "scripts"
ROWS = [
    "training-input",
    "comparisons",
    "liqe",
    "scoring",
    "freed-memory",
    "training-step",
    "memory",
    "long-run",
    "evaluation",
    "other-models",
    "prepare-workers",
    "detection",
    "factors",
    "pretrain-input",
    "start-up",
    "text-features",
    "official",
    "engines",
    "explanation",
    "light",
    "next-pair",
    "serve",
]
MACHINE = {"cpu", "vendor", "family", "model", "instructions", "cores", "memory_gb", "gpu", "python", "torch", "system"}


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def bench(scripts, capsys):
    """Gives the script arguments, in this process; its exit status and what it wrote."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            importlib.import_module("bench").main([*map(str, arguments), "--threads", str(torch.get_num_threads())])
        return int(stop.value.code), *capsys.readouterr()

    return run


@pytest.mark.slow
def test_every_row_is_measured_and_written(tmp_path, monkeypatch):
    out = tmp_path / "bench.json"
    monkeypatch.setenv("PIQA_BENCH_SERVE_SECONDS", "1")  # each client ends the request that it has begun
    # In one thread: those of several that wait for each other on a busy machine take minutes.
    command = [sys.executable, SCRIPTS / "bench.py", "--smoke", "--threads", "1", "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert [row["row"] for row in report["rows"]] == ROWS
    assert set(report["machine"]) >= MACHINE
    assert set(report["matrix_rates"]) == {"float32", "bfloat16", "int8"} and min(report["matrix_rates"].values()) > 0
    for row in report["rows"]:
        assert math.isfinite(row["ratio"]) and row["ratio"] > 0, row
        assert row["what"] and row["compared"] and row["expected"] and row["clock"] in ("wall", "cpu", "counted")
        assert row["threads"] >= 1 and len(row["ways"]) >= 2
        assert row["row"] in done.stdout
        for way in row["ways"].values():
            if "median_s" in way:
                assert way["cpu_s"] >= 0
                assert 0 < way["min_s"] <= way["median_s"] <= way["max_s"] and way["repeats"] >= 1
    rows = {row["row"]: row for row in report["rows"]}
    assert rows["evaluation"]["facts"]["largest_difference"] < 1e-12
    assert rows["text-features"]["facts"]["same"]
    assert rows["official"]["ways"]["official"]["scores_differ"] < 1e-3
    for way in ("onnxruntime, float32", "openvino, float32"):
        assert rows["engines"]["ways"][way]["scores_differ"] < 1e-3
    first, *_ = rows["detection"]["ways"].values()
    assert first["faces_kept"] == 1 and first["faces"] > 0
    for model in ("liqe", "clip-iqa"):
        assert rows["other-models"]["ways"][f"{model}, one at a time"]["scores_differ"] < 1e-5


CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu sse2 fma avx2 avx512f avx512_bf16 avx512_vnni

processor\t: 1
cpu family\t: 99
"""


def test_the_processor_is_told_by_family_model_and_instructions(scripts):
    from bench_rows.machine import processor

    found = processor(CPUINFO)
    assert found.pop("instructions") == ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"]
    assert found == {"cpu": "AMD EPYC", "vendor": "AuthenticAMD", "family": "25", "model": "17"}
    arm = processor("processor : 0\nFeatures : fp asimddp i8mm bf16\nCPU part : 0xd40\n")
    assert arm["instructions"] == ["asimddp", "i8mm", "bf16"] and arm["model"] == "0xd40"
    assert processor("") == {"cpu": "unknown", "vendor": None, "family": None, "model": None, "instructions": []}


def test_what_a_rate_of_products_gives_a_whole_program(scripts):
    from bench_rows.machine import predicted

    assert predicted(0.5, 2.0) == pytest.approx(1 / 0.75)  # half of the time takes half as long


def test_faces_that_another_side_keeps_are_counted(scripts):
    from bench_rows.detection import kept

    from piqa.preparation.faces import Face

    here, there, near = (Face((x, 0, x + 10, 10), 1.0) for x in (0, 100, 2))
    # Kept, lost, found elsewhere, found by the other alone, by none.
    assert kept([here, here, here, None, None], [near, None, there, here, None]) == {
        "faces_kept": 1 / 3,
        "faces": 3,
        "more_faces": 1,
    }


def test_the_published_way_scores_as_ours_does(scripts, tmp_path, monkeypatch):
    from bench_rows.measure import portrait
    from bench_rows.official import Official

    from piqa import Scorer
    from piqa.models import LIQE, DualBranch
    from piqa.preparation.portrait import Preparation
    from piqa.weights import state_dicts

    torch.manual_seed(0)
    liqe = LIQE(architecture=VIT).eval()
    monkeypatch.setattr(state_dicts, "load_liqe", lambda *_: liqe)
    scorer = Scorer(DualBranch("test_resnet", image_size=64).eval(), Preparation(72, liqe="LIQE.pt"), 64, "cpu")
    image = tmp_path / "image.png"
    portrait(0.3).save(image)
    made = scorer.preparation.preparer(scorer.device)(image)
    (score,) = scorer.score_portraits([made])
    assert made.face_box is not None and made.liqe_logits is not None
    assert Official(scorer)((image, made.face_box)) == pytest.approx(score, abs=1e-4)
    assert Official(scorer)((image, None)) != pytest.approx(score, abs=1e-4)


# A GPU


def test_the_commands_of_the_gpu_script_are_understood_and_end_in_nine_minutes(scripts, tmp_path, monkeypatch):
    import bench_gpu

    planned = bench_gpu.steps(tmp_path)
    assert sum(step.limit for step in planned) <= bench_gpu.LIMIT == 540
    assert [step.name for step in planned] == ["bench", "profile", "demo", "torchrun"]
    for step in planned:
        name, words = step.command[1], step.command[2:]
        if name.startswith("scripts/"):
            options = importlib.import_module(Path(name).stem).parse(words)
            assert options.device == "cuda" and options.out.parent == tmp_path
            assert getattr(options, "rows", []) == ([] if step.name == "profile" else bench_gpu.ROWS)
        elif "piqa.fit" in words:
            config = parsed("fit", words[words.index("piqa.fit") + 1 :], monkeypatch)
            assert config.trainer.strategy == "ddp" and config.trainer.accelerator == "gpu"
            assert config.data.table.init_args.csv == str(tmp_path / "demo" / "demo.csv")
            launcher = importlib.import_module("torch.distributed.run")
            assert launcher.parse_args(words[words.index("--standalone") :]).nproc_per_node == "1"
        else:
            assert words == ["piqa.data.demo", str(tmp_path / "demo")] and name == "-m"


def test_a_step_that_fails_or_hangs_is_told_and_the_next_is_done(scripts, tmp_path, monkeypatch, capsys):
    import bench_gpu

    python = [sys.executable, "-S", "-c"]
    planned = [
        bench_gpu.Step("fails", 20, [*python, "print('why'); raise SystemExit(3)"]),
        bench_gpu.Step("hangs", 1, [*python, "import time; time.sleep(60)"]),
        bench_gpu.Step("works", 20, [*python, "print('well')"]),
    ]
    monkeypatch.setattr(bench_gpu, "steps", lambda out: planned)
    with pytest.raises(SystemExit) as stop:
        bench_gpu.main(["--out", str(tmp_path)])
    told = capsys.readouterr().out.splitlines()
    assert stop.value.code == 1
    assert ["failed with status 3" in told[0], "stopped after 1 s" in told[1], "done" in told[2]] == [True] * 3
    assert (tmp_path / "fails.log").read_text() == "why\n" and (tmp_path / "works.log").read_text() == "well\n"
    bench_gpu.main(["--show"])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_profile_tells_the_operations_of_a_step(scripts, tmp_path, capsys):
    import profile_step

    profile_step.main(["--smoke", "--steps", "1", "--out", str(tmp_path / "profile.txt")])
    table = (tmp_path / "profile.txt").read_text()
    assert "aten::convolution" in table and table in capsys.readouterr().out


def test_comparisons_are_counted_by_hand(scripts):
    from bench_rows.inputs import counted

    from piqa.data.sampler import StepSampler

    sampler = StepSampler(lambda rng: [[0, 1, 2], [3, 4], [5, 5]], 3)  # 3 and 1 comparisons, and one with itself
    assert counted(sampler) == {"steps": 1, "forwards": 7, "comparisons": 4, "comparisons_per_forward": 4 / 7}


def test_all_windows_first_gives_the_same_windows(scripts):
    from bench_rows.measure import portrait
    from bench_rows.scoring import all_windows_first

    from piqa.models.liqe_windows import cut_windows

    image = portrait(0.5)
    assert torch.equal(all_windows_first(image), cut_windows(image).float())


def test_saved_activations_are_counted_as_autograd_saves_them(scripts):
    """Against a network whose saved tensors are known: two linear layers with a ReLU between, of 8 numbers each."""
    from bench_rows.memory import saved_bytes
    from torch import nn

    class Tiny(nn.Module):
        inputs, image_size = ("liqe_logits",), 4

        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(495, 8), nn.ReLU(), nn.Linear(8, 8))

        def forward(self, liqe_logits):
            return self.layers(liqe_logits)

    def counted(mixed):
        with torch.device("meta"):
            network = Tiny()
        return saved_bytes(network, 3, "cpu", mixed)[0]

    # The input of the first layer, and the ReLU's result, which is the second layer's input as well.
    assert counted(mixed=False) == 3 * (495 + 8) * 4
    # In bfloat16 the input's copy, the ReLU's result, and the copy of the second layer's weights.
    assert counted(mixed=True) == 3 * (495 + 8) * 2 + 8 * 8 * 2


def test_floating_point_operations_are_those_of_the_matrix_products(scripts):
    from bench_rows.training import flops_of

    from piqa.models import DualBranch

    with torch.device("meta"):
        network = DualBranch("resnet10t", ("liqe",), 64)
    forward = 2 * (495 * 128 + 128)
    backward = 2 * (495 * 128 + 128) + 2 * 128  # by the weights of both layers, and by the input of the second
    assert flops_of(network) == forward + backward


def test_an_unknown_row_is_named(bench, tmp_path):
    status, _, error = bench("speed", "--out", tmp_path / "bench.json")
    assert status == 2 and "speed" in error and "training-input" in error


def test_a_row_that_fails_is_told_and_does_not_stop_the_others(bench, scripts, tmp_path, monkeypatch):
    import bench_rows.inputs

    def fails(settings):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(bench_rows.inputs, "prepare_workers", fails)
    status, shown, _ = bench("prepare-workers", "comparisons", "--smoke", "--out", tmp_path / "bench.json")
    comparisons, prepare = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert status == 1 and "no such luck" in shown
    assert prepare["error"] == "RuntimeError: no such luck" and comparisons["ratio"] > 0
    assert comparisons["took_s"] >= 0 and comparisons["took_cpu_s"] >= 0


def test_seconds_of_the_processor_are_told_beside_those_of_the_clock(scripts):
    """Those of a way that waits are few, and those of a process that it starts are counted."""
    import time

    from bench_rows.measure import in_turn

    def child():
        subprocess.run([sys.executable, "-S", "-c", "sum(range(3_000_000))"], check=True)

    ways = in_turn({"waits": lambda: time.sleep(0.2), "child": child}, 1, "wall", torch.device("cpu"), warm_up=0)
    assert ways["waits"]["cpu_s"] < 0.1 < 0.2 <= ways["waits"]["median_s"]
    assert ways["child"]["cpu_s"] > 0.02


def test_a_folder_without_pyiqa_is_refused_at_once(bench, tmp_path):
    status, _, error = bench("other-models", "--pyiqa", tmp_path, "--out", tmp_path / "bench.json")
    assert status == 2 and f"{tmp_path} has no package pyiqa" in error


def report(smoke=False, device="cpu"):
    way = {"median_s": 0.25, "min_s": 0.2, "max_s": 0.3, "repeats": 5}
    row = {"row": "some-row", "what": "this and that", "ratio": 1 / 3, "compared": "a : b", "expected": ">= 1"}
    row |= {"clock": "wall", "ways": {"a": way, "b": way}, "facts": {}, "threads": 2}
    return {"rows": [row], "smoke": smoke, "device": device, "machine": {"cpu": "a fast one", "gpu": None}}


def test_a_page_takes_the_table_of_its_device(scripts, tmp_path):
    from bench_rows.tables import fill_page

    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- bench cpu -->\nNot measured\n<!-- end -->\nbetween\n<!-- bench cuda -->\nkept\n<!-- end -->\n"
    )
    fill_page(report(), page)
    text = page.read_text()
    assert text.startswith("before\n<!-- bench cpu -->\nMachine: cpu a fast one.\n") and "Not measured" not in text
    assert "| `some-row` | a : b | **0.3333** | >= 1 |" in text
    assert text.endswith("<!-- end -->\nbetween\n<!-- bench cuda -->\nkept\n<!-- end -->\n")


@pytest.mark.parametrize(("made", "said"), [(report(smoke=True), "mean nothing"), (report(device="cuda"), "no marks")])
def test_a_page_refuses_what_does_not_belong_there(scripts, tmp_path, made, said):
    from bench_rows.tables import fill_page

    from piqa.errors import InputError

    page = tmp_path / "page.md"
    page.write_text("<!-- bench cpu -->\nNot measured\n<!-- end -->\n")
    with pytest.raises(InputError, match=said):
        fill_page(made, page)
    assert "Not measured" in page.read_text()


def test_the_benchmark_page_has_room_for_both_devices():
    text = (SCRIPTS.parent / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert text.count("<!-- bench cpu -->") == text.count("<!-- bench cuda -->") == 1


def test_a_report_of_another_machine_is_not_added_to(bench, tmp_path):
    out = tmp_path / "bench.json"
    out.write_text(json.dumps(report()))
    status, _, error = bench("comparisons", "--smoke", "--add", "--out", out)
    assert status == 2 and "another machine" in error
    assert json.loads(out.read_text()) == report()


def test_a_report_of_any_machine_is_shown_and_put_into_a_page(bench, tmp_path):
    out, page = tmp_path / "bench.json", tmp_path / "page.md"
    out.write_text(json.dumps(report()))
    page.write_text("<!-- bench cpu --><!-- end -->")
    status, shown, _ = bench("--show", "--out", out, "--markdown", page)
    assert status == 0 and "some-row" in shown
    assert "a fast one" in page.read_text()
