# Everything runs in .venv, which `make setup` builds from pyproject.toml.
# TORCH may name another build (make TORCH="torch==2.13.0+cpu --index-url ..."); the default suits CPU machines.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-slicer lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable ".[export,slicer,test]"
	touch $(STAMP)

# make demo               phantom CT
# make demo CT=<path>     a NIfTI, NRRD or MHA file, or a DICOM folder
demo: setup
	$(BIN)/python -m Testing.demo --output demo-output $(if $(CT),--ct "$(CT)")

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest $(ARGS)

# make test-slicer SLICER=<path to Slicer>      the module's self-test inside a real Slicer (5.10 or later)
test-slicer:
	@test -n "$(SLICER)" || { echo "Say which Slicer: make test-slicer SLICER=<path to the Slicer executable>"; exit 2; }
	"$(SLICER)" --testing --no-splash --no-main-window --disable-settings \
		--additional-module-paths "$(CURDIR)/PancreasSeg" --python-script "$(CURDIR)/Testing/run_in_slicer.py"

bench: setup
	$(BIN)/python -m Testing.bench $(ARGS)

clean:
	rm -rf .venv demo-output .mypy_cache .pytest_cache .ruff_cache
