import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "scripts" / "bench.py"


@pytest.mark.slow
def test_the_bench_measures_its_rows_and_writes_them(tmp_path):
    rows = ["detection", "pretrain-input"]
    command = [sys.executable, BENCH, *rows, "--repeats", "1", "--out", tmp_path / "bench.json"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    results = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [result["row"] for result in results] == rows
    assert all(result["ratio"] > 0 and way["median_cpu_s"] > 0 for result in results for way in result["ways"].values())
