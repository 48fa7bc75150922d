# `make demo` and `make test` need nothing but make and Python >= 3.10; everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test lint clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "piqa needs Python >= 3.10: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

# Two images of a scene that the demo's model has not seen: as good as it gets, and spoilt.
EXAMPLES := $(addprefix data/demo/images/Shade_Hopper_21/,reference.png lowres-jpeg.jpg)

# A model that learns to rank portraits, in about five minutes on two cores.
demo: install
	$(BIN)/python -m piqa.data.demo data/demo
	$(BIN)/python -m piqa.fit --config demo.yaml --overwrite true
	$(BIN)/python -m piqa.evaluate --ckpt_path runs/demo
	$(BIN)/python -m piqa.predict $(EXAMPLES) --ckpt_path runs/demo --out runs/demo/scores.csv
	@echo
	@echo "Scores of the two images:       runs/demo/scores.csv"
	@echo "Measures on the held-out scenes:  runs/demo/evaluation/per_scene.csv and metrics.json"
	@echo "Plot, predicted by true score:    runs/demo/evaluation/scatter.png"
	@echo "The run's record:                 runs/demo/record.json, config.yaml, metrics.csv"

# Two at a time, each on one thread; a file's tests stay together, as they share what is slow to make.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) runs build *.egg-info
