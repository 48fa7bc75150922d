"""What a command imports before it does its work, as that is most of the time that a short command takes."""

import subprocess
import sys
from pathlib import Path

from tiny_models import write_images, write_tiny_model

NOT_FOR_HELP = ["torch", "numpy", "pandas", "jsonargparse", "rich"]
NOT_FOR_SCORING = ["torch._dynamo", "wandb", "pandas", "scipy", "albumentations", "lightning", "matplotlib", "av"]
NOT_FOR_SCORING += ["gdown", "platformdirs", "piqa.weights.published"]
HELP = f"""
import sys
sys.argv = ["piqa", "--help"]
from piqa.__main__ import main
main()
print([name for name in {NOT_FOR_HELP} if name in sys.modules])
"""
SCORING = f"""
import sys
from piqa import predict
predict.main(sys.argv[1:])
print([name for name in {NOT_FOR_SCORING} if name in sys.modules])

import timm.utils.summary
postponed = sys.modules["torchvision.ops.roi_align"].is_compile_supported
found = postponed("cpu")
import torch._dynamo.utils, wandb
assert found == torch._dynamo.utils.is_compile_supported("cpu")
assert torch._dynamo.utils.__spec__ is not None and wandb.__spec__ is not None
assert timm.utils.summary.wandb.Settings is wandb.Settings
assert torch.compiler.disable.__module__ == "torch.compiler"
"""


def last_line(code, folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_help_does_not_wait_for_libraries(tmp_path):
    assert last_line(HELP, tmp_path) == "[]"


def test_scoring_imports_nothing_that_it_does_not_use_and_breaks_nothing_for_others(tmp_path):
    write_tiny_model(tmp_path / "model", face_rule="largest")
    (image,) = write_images(tmp_path, 1)
    arguments = [Path(image).name, "--ckpt_path", "model", "--device", "cpu", "--out", "scores.csv"]
    assert last_line(SCORING, tmp_path, *arguments) == "[]"
