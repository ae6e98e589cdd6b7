# Everything runs inside .venv, which is made from the locked constraints when it is missing.
# On Linux the default package index serves torch's CUDA build, several GB of wheels. TORCH_INDEX may name an index with
# CPU builds, from which torch is then installed first: make run TORCH_INDEX=URL
TORCH_INDEX ?=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Test processes at a time; a file of tests stays in one.
TEST_WORKERS ?= 2

.PHONY: run test check check-lock chaos soak bench stability study ui clean

run: $(READY)
	$(BIN)/hlynr retrain

test: $(READY)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Kills, full disks and store faults, added to docs/reliability/ledger.json: make chaos CHAOS='--minutes 10 --kinds kill'
chaos: $(READY)
	PYTHONPATH=tests $(BIN)/python -m chaos $(CHAOS)

# Retrainings one after another under hlynr up, and what grows: make soak SOAK='--runs 3 --record /tmp/soak.json'
soak: $(READY)
	PYTHONPATH=tests $(BIN)/python -m soak $(SOAK)

# Whether every locked version has a wheel for each supported Python and processor.
check-lock: $(READY)
	$(BIN)/python tools/check_lock.py

bench: $(READY)
	$(BIN)/hlynr bench

stability study: $(READY)
	$(BIN)/hlynr stability

ui: $(READY)
	$(BIN)/hlynr ui

clean:
	rm -rf $(VENV) outputs .hlynr .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -z "$(TORCH_INDEX)" || $(BIN)/python -m pip install --constraint constraints.txt --index-url "$(TORCH_INDEX)" torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c 'import hlynr.envs.batch'
	touch $(READY)
