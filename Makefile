# Two commands do everything on a machine with Python 3.11+, make and pip:
#   make demo   set up, run the embedded benchmark
#   make test   set up, pass the tests
# With TORCH=cpu the set-up takes PyTorch without CUDA: under 2 GB in place of 6.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ifeq ($(TORCH),cpu)
export PIP_EXTRA_INDEX_URL := https://download.pytorch.org/whl/cpu
endif

.PHONY: demo test test-slow test-browser test-cuda check docs release checkpoints figures clean

demo: $(VENV)/.demo
	$(BIN)/python run_benchmark.py

test: $(VENV)/.dev check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m slow

test-browser: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m browser

# On a machine with a GPU, in its own Python (torch, torchvision, numpy, scipy, Pillow, opencv, pytest): nothing is installed.
test-cuda:
	PYTHONPATH=. $(PYTHON) -m pytest -q -c /dev/null --rootdir . -p no:cacheprovider --import-mode=importlib \
	  -k 'cuda_agrees or by_tensors' \
	  tests/corruptions/test_corruptions_api.py tests/corruptions/test_generic_path.py tests/perturbations/test_perturb.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in site/; a broken link or reference is an error.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# dist/: sdist and wheel, metadata checked, the wheel tried in a fresh environment; SIGN=KEY signs the sums with gpg.
release: $(VENV)/.dev
	rm -rf dist build/release
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip install --quiet dist/*.whl
	cd build/release && bin/robustbench-lift --version && \
	  bin/robustbench-lift run photos/resnet-lift --protocols clean --normaliser none --limit 15 --no-report
	cd dist && sha256sum *.whl *.tar.gz > SHA256SUMS
	$(if $(SIGN),gpg --local-user $(SIGN) --armor --detach-sign dist/SHA256SUMS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.demo $@

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Train the embedded checkpoints anew and enter them in checkpoints/ (an hour on two cores). NAME=ARCHITECTURE/POOLING.
PHOTOS := resnet-skip=skip resnet-max=max resnet-average=average resnet-blur=blur \
  resnet-lift='lift?constraint=none' resnet-lift-constrained='lift?constraint=mse&gradient=features'
SCENES := max max-blur lift lift-no-details
checkpoints: $(VENV)/.demo
	for one in $(PHOTOS); do name=photos/$${one%%=*}; \
	  $(BIN)/robustbench-lift train photos --model "resnet8-maxpool/$${one#*=}" --out training-runs/$$name && \
	  $(BIN)/python -m checkpoints add $$name training-runs/$$name/final.safetensors || exit 1; \
	done
	$(BIN)/robustbench-lift train photos --model alexnet-small/max --set learning_rate=0.01 --out training-runs/photos/alexnet
	$(BIN)/python -m checkpoints add photos/alexnet training-runs/photos/alexnet/final.safetensors
	for pair in $(SCENES); do name=scenes/segnet-$$pair; \
	  $(BIN)/robustbench-lift train scenes --model "segnet/$$pair?width=0.0625" --out training-runs/$$name && \
	  $(BIN)/python -m checkpoints add $$name training-runs/$$name/final.safetensors || exit 1; \
	done

# Run the embedded benchmark and copy its table and figure into docs/ and the README.
figures: $(VENV)/.demo
	$(BIN)/python run_benchmark.py
	$(BIN)/python docs/embed.py
