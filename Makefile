# make demo: install, then train, evaluate and predict on the built-in samples
# make test: install, then run every test
# make mutants: plant the bugs of tests/mutants, one at a time, and see whether the tests notice (MUTANTS="NAME ..." for some)

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)

.PHONY: demo test mutants style clean

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: .venv/installed
	rm -rf demo
	$(BIN)/cvkit segment train --arch unet --epochs 8 --out demo/runs
	$(BIN)/cvkit segment eval --weights demo/runs/segment-unet-001 --data samples --out demo/runs
	$(BIN)/cvkit segment predict samples/segment/images --weights demo/runs/segment-unet-001 --out demo/predictions
	$(BIN)/cvkit classify predict samples/classify --weights shapes --save sorted --out demo/shapes
	$(BIN)/cvkit detect predict samples/detect/images --weights boxes --out demo/boxes
	$(BIN)/cvkit detect eval --weights boxes --data samples --out demo/runs
	$(BIN)/cvkit instance predict samples/detect/images --weights masks --out demo/masks
	$(BIN)/cvkit video predict samples/video --weights motions --save video --out demo/videos
	@echo "look at demo/videos/videos/*/*/*.mp4 (clips with their motion written on them),"
	@echo "demo/masks/overlays/val/*.png (objects in colours of their own),"
	@echo "demo/boxes/overlays/val/*.png (boxes with classes and scores),"
	@echo "demo/shapes/sorted/ (a folder for each class) and at"
	@echo "demo/predictions/overlays/val/*.png and demo/runs/segment-unet-001/curves.png"

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q --durations 10

mutants: .venv/installed
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

style: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv demo
