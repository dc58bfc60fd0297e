# Two commands do everything on a machine with Python 3.11+, make and pip:
#   make demo   set up, run the embedded benchmark
#   make test   set up, pass the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow test-browser check checkpoints figures clean

demo: $(VENV)/.demo
	$(BIN)/python run_benchmark.py

test: $(VENV)/.dev check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m slow

test-browser: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m browser

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.demo $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Train the embedded checkpoints anew and enter them in checkpoints/ (minutes on a CPU).
checkpoints: $(VENV)/.demo
	for pooling in max average skip blur lift; do \
	  $(BIN)/robustbench-lift train photos --model resnet8/$$pooling --out training-runs/photos/resnet-$$pooling && \
	  $(BIN)/python -m checkpoints add photos/resnet-$$pooling training-runs/photos/resnet-$$pooling/final.safetensors || exit 1; \
	done
	$(BIN)/robustbench-lift train photos --model alexnet-small/max --set learning_rate=0.01 --out training-runs/photos/alexnet
	$(BIN)/python -m checkpoints add photos/alexnet training-runs/photos/alexnet/final.safetensors

# Run the embedded benchmark and copy its table and figure into docs/ and the README.
figures: $(VENV)/.demo
	$(BIN)/python run_benchmark.py
	$(BIN)/python docs/embed.py
