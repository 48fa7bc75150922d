# `make demo` and `make test` need make and Python >= 3.10, nothing else. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-wheel test-floors lint docs clean help

install: $(VENV)/installed ## install piqa and its tools into .venv

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "piqa needs Python >= 3.10: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

# A scene that the demo's model has not seen, and two of its images: the undistorted one, and a damaged one.
SCENE := data/demo/images/Shade_Hopper_21
EXAMPLES := $(addprefix $(SCENE)/,reference.png lowres-jpeg.jpg)

demo: install ## make a small dataset, train a model on it, evaluate it, score and explain images; about two minutes
	$(BIN)/python -m piqa.data.demo data/demo
	$(BIN)/python -m piqa.fit --config demo.yaml --overwrite true
	$(BIN)/python -m piqa.evaluate --ckpt_path runs/demo
	$(BIN)/python -m piqa.predict $(EXAMPLES) --ckpt_path runs/demo --out runs/demo/scores.csv
	$(BIN)/python -m piqa.explain $(SCENE) --ckpt_path runs/demo --score_maps false --out runs/demo/report
	@echo
	@echo "Report on the images of a scene:  runs/demo/report/index.html"
	@echo "Scores of two of them:            runs/demo/scores.csv"
	@echo "Measures on the held-out scenes:  runs/demo/evaluation/per_scene.csv and metrics.json"
	@echo "Plot, predicted by true score:    runs/demo/evaluation/scatter.png"
	@echo "The run's record:                 runs/demo/record.json, config.yaml, metrics.csv"

# Two processes with one thread each. The tests of a file stay in one process, as they share slow fixtures. The package
# is compiled before, as the tests start hundreds of programs, and where PYTHONDONTWRITEBYTECODE is set each compiles it.
test: install ## run all tests
	$(BIN)/python -m compileall -q piqa
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-wheel: install ## build the wheel, install it into a bare environment, try every command there
	$(BIN)/python scripts/try_wheel.py

# The oldest versions take gigabytes of their own; they are kept in .venv-floors for the next time.
FLOORS := .venv-floors
# A file or two for each library.
FLOOR_TESTS := $(patsubst %,tests/test_%.py,transforms faces command_line fit table calibration open_image \
	model_files ownership report page video demo_data liqe ranking device download hub)
test-floors: ## run the quick tests with the oldest versions that pyproject.toml allows; for once a week
	$(PYTHON) -m venv $(FLOORS)
	$(PYTHON) scripts/floors.py > $(FLOORS)/floors.txt
	$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(FLOORS)/floors.txt \
		--editable . "pytest>=8" "hypothesis>=6"
	OMP_NUM_THREADS=2 $(FLOORS)/bin/python -m pytest -m "not slow" $(FLOOR_TESTS)

lint: install ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Not quietly: mkdocs would then overlook warnings, for all its strictness.
docs: install ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## delete .venv, runs and everything that is built
	rm -rf $(VENV) $(FLOORS) runs build dist site *.egg-info

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' $(MAKEFILE_LIST)
