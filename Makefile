# Commands for people and for CI. `make` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
BIN := .venv/bin
DOCKER ?= docker
ALGORITHM ?= kmeans
BASE_IMAGE ?= python:3.11-slim-bookworm
# On a machine without a GPU torch comes from here, at a tenth of the default wheel's size.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Peers that need versions of their own.
PEERS := .peers/bin
# The last MXNet and GluonCV.
INTEROP := .interop/bin
MANIFESTS := $(wildcard containers/*/manifest.toml)

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: .venv/ready ## Make .venv with everything; puts train, serve and algodock in .venv/bin

.venv/ready: pyproject.toml constraints.txt $(MANIFESTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -e /dev/nvidia0 || $(PIP) install --no-deps --retries 0 --timeout 10 \
		--index-url $(TORCH_CPU_INDEX) -c constraints.txt torch 2>/dev/null \
		|| echo "PyTorch's CPU index was not reached; torch comes from the default one"
	$(PIP) install -c constraints.txt -e '.[local,dev]' $$($(BIN)/python -m common.manifest packages all)
	$(PIP) install --no-deps --force-reinstall -e .  # Ray has a program `serve` too
	$(BIN)/python -m common.warm
	@touch $@

.PHONY: demo
demo: setup ## Train k-means on real data, serve it, ask it, show the result
	@$(BIN)/python examples/demo.py

.PHONY: test
test: setup ## Run the tests that need no Docker engine, but for the slow ones
	$(BIN)/pytest -n 2 -m 'not slow'

.PHONY: test-slow
test-slow: setup ## Run those that take more than some ten seconds each
	$(BIN)/pytest -n 2 -m slow

.PHONY: lint
lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: setup ## Mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: tables
tables: setup ## Write the hyperparameter tables into the algorithms' READMEs
	$(BIN)/python -m local.tables

.PHONY: docs
docs: setup ## Build the documentation's site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: pictures
pictures: setup ## Run the worked examples and draw the documentation's pictures: make pictures ALGORITHM=kmeans
	ALGODOCK_NUM_THREADS=1 $(BIN)/python -m docs_site.pictures $(ALGORITHM)

.PHONY: pretrained
pretrained: setup ## Keep ImageNet weights for jobs and images: make pretrained NETWORK=resnet-50 FILE=...
	$(BIN)/python -m common.learning.pretrained add "$(NETWORK)" "$(FILE)"

.PHONY: image
image: setup ## Build the images of one algorithm: make image ALGORITHM=kmeans
	@set -e; devices=$$($(BIN)/python -m common.manifest images | awk '$$1 == "$(ALGORITHM)"' | cut -d' ' -f3-); \
	test -n "$$devices" || { $(BIN)/algodock describe $(ALGORITHM); exit 1; }; \
	for device in $(or $(DEVICES),$$devices); do \
		BUILDX_NO_DEFAULT_ATTESTATIONS=1 $(DOCKER) build --network host -f Dockerfile.$$device \
			--build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg ALGORITHM=$(ALGORITHM) \
			$$(test $$device = gpu || echo --build-arg TORCH_CPU_INDEX=$(TORCH_CPU_INDEX)) \
			-t algodock/$(ALGORITHM):$$device .; \
	done

.PHONY: images
images: setup ## Build the images of every algorithm; DEVICES=cpu leaves out those for GPUs
	@set -e; for name in $$($(BIN)/python -m common.manifest images | cut -d' ' -f1); do \
		$(MAKE) --no-print-directory image ALGORITHM=$$name; \
	done

.PHONY: push
push: setup ## Push an image that was built: make push ALGORITHM=kmeans REPOSITORY=registry[/prefix] [DEVICES=gpu]
	@for device in $(or $(DEVICES),cpu); do $(BIN)/python -m local.pushing $(ALGORITHM) $$device $(REPOSITORY) || exit 1; done

.PHONY: test-images
test-images: setup ## Build a few images and run them: train, serve, two hosts, the SageMaker SDK
	$(BIN)/pytest tests/images -n 0 -m images

.PHONY: test-interop
test-interop: setup $(INTEROP)/ready ## Exchange models with the real MXNet and GluonCV, in an environment of their own
	$(BIN)/pytest tests/interop -n 0

$(INTEROP)/ready: tests/interop/requirements.txt
	test -x $(INTEROP)/python || $(PYTHON) -m venv .interop
	$(INTEROP)/python -m pip --disable-pip-version-check --quiet install -r tests/interop/requirements.txt
	$(INTEROP)/python -m pip --disable-pip-version-check --quiet install --no-deps gluoncv==0.10.5.post0
	@touch $@

.PHONY: bench
bench: setup ## Measure every figure that the README quotes, each beside its peer
	$(PIP) install -c constraints.txt 'setuptools<80' pybind11
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[bench]'
	test -x $(PEERS)/python || $(PYTHON) -m venv .peers
	@test -e /dev/nvidia0 || $(PEERS)/python -m pip --quiet install --no-deps --retries 0 --timeout 10 \
		--index-url $(TORCH_CPU_INDEX) -c constraints.txt torch 2>/dev/null || true
	$(PEERS)/python -m pip --quiet install $$(grep '^torch==' constraints.txt) 'gluonts[torch]' orjson numba \
		protobuf sacrebleu tensorboard matplotlib sentencepiece subword-nmt importlib_metadata
	$(PEERS)/python -m pip --quiet install --no-deps joeynmt lazy-importer
	$(BIN)/python -m bench --peer-python $(PEERS)/python

.PHONY: fuzz
fuzz: setup ## Fuzz the decoders for a minute, guided by coverage
	$(PIP) install atheris
	$(BIN)/python tests/fuzz/fuzz_decoders.py -max_total_time=60 -artifact_prefix=$(or $(TMPDIR),/tmp)/

.PHONY: clean
clean: ## Remove .venv and what tools left behind
	rm -rf .venv .peers .interop build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
