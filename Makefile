# make setup   a virtual environment with everything, in .venv
# make demo    ResNet-50's formulas, and its crossovers on an H100
# make test    lint, types, tests, and the built wheel outside this folder
# make bench   the time to trace, beside other counters; to evaluate a million sizes; to read saved files
# make check-fusion bytes of fused kernels beside Inductor's own count on a CPU (ten minutes)
# make zoo     all of torchvision, timm's families and a list of transformers against torch's own counter (an hour)
# make zoo-all every name of timm (an hour or two)
# make zoo-wild models of twelve libraries beyond those (twenty minutes)
# make ranges  2,000 drawn networks that depend on their sizes, run for real where formulas are said to hold (minutes)
# make test TORCH=2.14.1   the same against another torch, in an environment of its own
# make check-formats  bytes of published checkpoints, from their configurations alone (seconds)
# make check-memory  what calls hold on the CPU, against PyTorch's own allocator (two minutes)
# make mutants change each number in the rules of operators, and see that the table of rules notices (a minute)
# make goldens write the golden files of the formulas anew; read the difference before committing it

PYTHON ?= python3
# Another torch than that of constraints.txt, such as 2.14.1; it brings gigabytes of CUDA.
TORCH ?=
VENV := .venv$(TORCH:%=-%)
BIN := $(VENV)/bin

.PHONY: setup demo test lint types unit wheel bench zoo zoo-all zoo-wild ranges mutants goldens check-fusion check-formats check-memory
.DELETE_ON_ERROR:

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "fxcost needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)
	grep $(if $(TORCH),-v '^torch',.) constraints.txt > $(VENV)/constraints.txt
ifeq ($(TORCH),)
	# torch first and alone: another package's range would bring a newer one with gigabytes of CUDA
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt --no-deps torchvision
else
	$(BIN)/pip install --quiet --disable-pip-version-check torch==$(TORCH) torchvision
endif
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[zoo,plot,pandas,verify,test]'
	touch $@

demo: setup
	$(BIN)/fxcost trace resnet50 --symbolic H,W,B --by module --depth 2
	$(BIN)/fxcost crossover resnet50 --platform h100-sxm5-80gb --precision fp16

# Types are checked against the annotations of constraints.txt's torch alone: those of others differ.
test: lint $(if $(TORCH),,types) unit wheel

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: setup
	$(BIN)/pytest -n 2 --dist loadfile

wheel: setup
	$(BIN)/python tests/wheel.py

bench: setup
	$(BIN)/python bench/trace.py
	$(BIN)/python -m bench.evaluate
	$(BIN)/python -m bench.saved

zoo: setup
	$(BIN)/pytest -n 2 --dist loadfile -m zoo
	$(BIN)/python -m bench.zoo torchvision timm transformers -o docs/coverage.md

zoo-all: setup
	$(BIN)/python -m bench.zoo timm-all -o docs/coverage-timm.md

zoo-wild: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[wild]'
	# thop last: ultralytics brings another package of that name
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps encodec speechbrain
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt --no-deps --force-reinstall thop
	$(BIN)/python -m bench.zoo wild -o docs/coverage-wild.md

ranges: setup
	$(BIN)/pytest -n 2 -m ranges tests/test_ranges.py

check-fusion: setup
	$(BIN)/python -m bench.fusion -o docs/accuracy.md

check-formats: setup
	$(BIN)/pytest -v tests/formats/test_stored_bytes.py tests/formats/test_number_format.py

check-memory: setup
	$(BIN)/python -m bench.memory

mutants: setup
	$(BIN)/python -m bench.mutants

goldens: setup
	$(BIN)/pytest -n 2 --dist loadfile tests/test_goldens.py --regen-all
