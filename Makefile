# Everything runs in .venv, which `make setup` builds from pyproject.toml.
# TORCH may name another build (make TORCH="torch==2.13.0+cpu --index-url ..."); the default suits CPU machines.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
STAMP := .venv/.installed
ORIGINALS := .venv-originals/.installed

.PHONY: setup originals demo model test test-slicer lint fuzz bench bench-models clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable ".[cohort,export,serve,slicer,test]"
	touch $(STAMP)

# What ours is compared with (nnU-Net, TotalSegmentator, torchvision), apart from what the product needs; it shares the
# torch of .venv. Without it the tests that need it are skipped, and say so.
originals: setup
	@$(MAKE) --no-print-directory $(ORIGINALS) || echo "The originals could not be installed; tests beside them are skipped."

$(ORIGINALS): Testing/originals/requirements.txt
	$(PYTHON) -m venv .venv-originals
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$(.venv-originals/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/shared.pth
	.venv-originals/bin/pip install --quiet --requirement Testing/originals/requirements.txt
	touch $(ORIGINALS)

# make demo               phantom CT
# make demo CT=<path>     a NIfTI, NRRD or MHA file, or a DICOM folder
demo: setup
	$(BIN)/python -m Testing.demo --output demo-output $(if $(CT),--ct "$(CT)")

# make model DATA=<folder> [WORK=<folder>] [COHORT=<folder>]    the model that ships, from the public data to the package:
# arrays, the training that holds patients out, its figures, the training on all; goes on where it stopped.
# What has to lie in DATA, and where to get it, says Resources/models/pancreas-ct/README.md.
WORK ?= model-work
model: setup
	@test -n "$(DATA)" || { echo "Say where the data lie: make model DATA=<folder>"; exit 2; }
	$(BIN)/python -m pancreasseg.lab.axial model --data "$(DATA)" --work "$(WORK)" --package "$(WORK)/pancreas-ct" \
		$(if $(COHORT),--cohort "$(COHORT)")

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The tests of a file stay together on one of WORKERS processes; each computes with one thread, as many as there are cores
# (four at most, for the memory).
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 4 ] && echo $$n || echo 4)
test: lint originals
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive \
		$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --durations 5 $(ARGS)

# make test-slicer SLICER=<path to Slicer>      the module's self-test inside a real Slicer (5.12 or later)
test-slicer:
	@test -n "$(SLICER)" || { echo "Say which Slicer: make test-slicer SLICER=<path to the Slicer executable>"; exit 2; }
	"$(SLICER)" --testing --no-splash --no-main-window --disable-settings \
		--additional-module-paths "$(CURDIR)/PancreasSeg" --python-script "$(CURDIR)/Testing/run_in_slicer.py"

# make fuzz FUZZ_SECONDS=600      every fuzz target for its share of the time; ARGS="--report FILE" writes the figures
FUZZ_SECONDS ?= 120
fuzz: setup
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m Testing.fuzz $(ARGS)

# make bench ARGS="--only models"      one part of run, models, training, cohort; --originals: beside nnU-Net and TotalSegmentator
bench: setup
	$(BIN)/python -m Testing.bench $(ARGS)

# make bench-models ARGS='--originals --plan "Task07"'      the part of the models alone, one network or precision at will
bench-models: setup
	$(BIN)/python -m Testing.public_model_timings $(ARGS)

clean:
	rm -rf .venv .venv-originals demo-output .mypy_cache .pytest_cache .ruff_cache
