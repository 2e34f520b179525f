# make demo: install, then train, evaluate and predict on the built-in samples
# make test: install, then run every test
# make docs: install, then build the pages of docs/ into site/
# make gpu: the tests that need a CUDA device, and what it reaches, into gpu.json (GPU_PYTHON: one that has the packages)
# make bench: install the peers of benchmarks/requirements.txt too, and measure cvkit against them, into docs/benchmarks.md
# make soak: try each promise of docs/promises.md in great numbers, within an hour, and write down what was kept (ROWS="R1 R3" for some)
# make matrix: the wheel and the oldest and newest torch in new environments of each Python that is there (PYTHONS="python3.12 ..." for some)
# make mutants: plant the bugs of tests/mutants, one at a time, and see whether the tests notice (MUTANTS="NAME ..." for some)

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)

# Packages are compiled when they are first imported (see below), which must be remembered: importing
# torch from its sources takes a process three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test soak matrix gpu bench docs mutants style clean

# Not compiled: two thirds of the 200 MB of Python in these packages are never imported.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[dev]"
	touch $@

PHOTOS := demo/data
COINS := $(PHOTOS)/upper-coins-of-a-photograph
TILES := $(PHOTOS)/tiles-of-photographs
MOVING := $(PHOTOS)/moving-photographs

demo: .venv/installed
	rm -rf demo
	$(BIN)/cvkit segment predict samples/segment/images --weights scenes --out demo/scenes/segment
	$(BIN)/cvkit classify predict samples/classify --weights shapes --save sorted --out demo/scenes/classify
	$(BIN)/cvkit detect predict samples/detect/images --weights boxes --out demo/scenes/detect
	$(BIN)/cvkit instance predict samples/detect/images --weights masks --out demo/scenes/instance
	$(BIN)/cvkit video predict samples/video --weights motions --save video --out demo/scenes/video
	$(BIN)/python docs/demo.py photographs $(PHOTOS)
	$(BIN)/cvkit segment train --data $(COINS) --format pairs --weights scenes --epochs 8 --keep last --out demo/runs
	$(BIN)/cvkit segment eval --weights demo/runs/segment-fcn-8s-001 --data $(COINS) --format pairs --out demo/runs
	$(BIN)/cvkit segment predict $(COINS)/images/val --weights demo/runs/segment-fcn-8s-001 --out demo/photographs/segment
	$(BIN)/cvkit classify train --data $(TILES) --weights shapes --epochs 5 --keep last --out demo/runs
	$(BIN)/cvkit classify eval --weights demo/runs/classify-shufflenet_v2_x0_5-001 --data $(TILES) --out demo/runs
	$(BIN)/cvkit classify predict $(TILES)/val --weights demo/runs/classify-shufflenet_v2_x0_5-001 --out demo/photographs/classify
	$(BIN)/cvkit detect train --data $(COINS) --format coco --weights boxes --epochs 6 --keep last --out demo/runs
	$(BIN)/cvkit detect predict $(COINS)/images/val --weights demo/runs/detect-faster-rcnn-001 --draw-threshold 0.8 --out demo/photographs/detect
	$(BIN)/cvkit instance train --data $(COINS) --format coco --weights masks --epochs 6 --keep last --out demo/runs
	$(BIN)/cvkit instance predict $(COINS)/images/val --weights demo/runs/instance-mask-rcnn-001 --draw-threshold 0.8 --out demo/photographs/instance
	$(BIN)/cvkit video train --data $(MOVING) --weights motions --epochs 6 --keep last --out demo/runs
	$(BIN)/cvkit video predict $(MOVING)/val --weights demo/runs/video-r3d-small-001 --out demo/photographs/video
	$(BIN)/python docs/demo.py sheets demo
	@echo "look at demo/sheets/*.png: one picture for each task, synthetic scenes above, photographs below."
	@echo "Captions are the paths of the inputs, which for classify and video name the true class, and what the model says."
	@echo "More: demo/scenes/ (overlays, files and videos of predictions), demo/runs/ (curves.png, confusion_matrix.png)"

# Networks are built and dropped all the time: memory that is given back to the system each time
# has to be cleared by it again, which is a tenth of the time of tests of networks.
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296

# The files with tests that run by themselves; collecting all files takes half a minute.
APART = $(shell grep -rl "mark.apart" tests --include="test_*.py")

test: .venv/installed
	OMP_NUM_THREADS=1 $(KEEP_MEMORY) $(BIN)/python -m pytest -m apart -n $(WORKERS) --dist worksteal -q $(APART)
	OMP_NUM_THREADS=1 $(KEEP_MEMORY) $(BIN)/python -m pytest -m "not apart" -n $(WORKERS) --dist worksteal -q --durations 10

soak: .venv/installed
	$(BIN)/python tests/reliability/soak.py $(ROWS) --jobs $(WORKERS)

matrix: .venv/installed
	$(BIN)/python tests/reliability/matrix.py $(PYTHONS)

GPU_PYTHON ?= $(BIN)/python

gpu: $(if $(filter $(BIN)/%,$(GPU_PYTHON)),.venv/installed)
	OMP_NUM_THREADS=1 $(GPU_PYTHON) -m pytest -m gpu -n 12 --dist worksteal -q tests/engine/test_cuda.py
	PYTHONPATH=. $(GPU_PYTHON) benchmarks/gpu.py gpu.json

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[docs]"
	touch $@

docs: .venv/installed-docs
	$(BIN)/mkdocs build --strict --quiet --config-file .mkdocs.yml
	@! grep -rlE '<(script|link|img)[^>]*="https?:' site --include='*.html' || { echo "these pages need the network"; exit 1; }

.venv/installed-bench: .venv/installed benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	touch $@

bench: .venv/installed-bench
	PYTHONPATH=. $(BIN)/python benchmarks/all.py $(SCRIPTS)

mutants: .venv/installed
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

style: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo site
