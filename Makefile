# Two commands: `make demo` and `make test`. Both need nothing but Python >= 3.11 and make, and are quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS = 1
export MLFLOW_DISABLE_TELEMETRY = true
export DO_NOT_TRACK = 1
GANLIB_REQUIRE_SERVICES ?= 1

.PHONY: help install demo test test-rounding test-services test-full soak lint clean

help:
	@echo "make demo       environment, install, the whole product on real data, into runs/"
	@echo "make test       environment, install, tests (about 25 minutes on 2 cores)"
	@echo "make test-rounding  the tests that train, again under other floating-point roundings"
	@echo "make test-services  schedules, Ray clusters and Redis, with servers of their own on loopback"
	@echo "make test-full  every law on every model, slow checks included"
	@echo "make soak       1,000 faults injected into batch runs and streams, each record counted"
	@echo "make lint       style, types and import directions"
	@echo "make clean      remove the environment and the products of runs"

install: $(STAMP)

# torch comes first and pinned: another package pulling it in would bring gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[dev]"
	touch $(STAMP)

demo: install
	$(BIN)/ganlib demo

test: install
	$(BIN)/python -m pytest -n 2 -m "not slow and not benchmark and not rounding"

# As an older processor rounds, and with first weights changed by a millionth.
test-rounding: install
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 \
		$(BIN)/python -m pytest -n 2 -m "trained and not slow and not benchmark"
	GANLIB_TEST_NUDGE=1e-6 $(BIN)/python -m pytest -n 2 -m "trained and not slow and not benchmark"

# Servers and clusters on loopback; what is missing is a failure here, and a skipped test elsewhere.
test-services: $(STAMP)-services
	GANLIB_REQUIRE_SERVICES=$(GANLIB_REQUIRE_SERVICES) $(BIN)/python -m pytest -m "services and not benchmark"

$(STAMP)-services: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[services]"
	touch $@

test-full: install
	$(BIN)/python -m pytest -n 2 -m "not benchmark"

soak: install
	$(BIN)/python tests/faults/soak.py --faults 1000

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs build *.egg-info
