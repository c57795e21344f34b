# The template's tasks. Each installs what it needs first, and only once.

SERVICE := {{cookiecutter.project_slug}}
LIBRARY := $(SERVICE)/vendor/servekit
VENV ?= $(CURDIR)/.venv
BIN := $(VENV)/bin
OUT ?= build
INSTALL := sh '$(SERVICE)/requirements/install.sh' "$(VENV)"
# Named after the content of the locks, so that each is stale exactly when its own changes.
stamp = $(VENV)/.template-$(1)-$(shell cksum < requirements/$(1).txt | cut -d' ' -f1)
RENDER := $(call stamp,render)
DEV := $(call stamp,dev)

# What pytest ends with when ARGS picks none of these tests.
NONE_PICKED := [ "$(if $(ARGS),$$?)" = 5 ]

# Runs a command and says it, also after one that failed; a recipe of such ends with `exit $$failed`.
EACH := failed=0; each() { echo "$$*"; "$$@" || failed=1; };

export PATH := $(BIN):$(PATH)
export RUFF_NO_CACHE := true
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo render test e2e conformance image audit check format lock vendor-hash install install-render

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: install-render ## Render the defaults into build/ and run the service
	@rm -rf build/demo
	@"$(BIN)/python" tests/render.py build/demo
	@echo "Rendered the defaults into build/demo/my-service"
	@exec $(MAKE) -C build/demo/my-service run VENV='$(CURDIR)/build/demo-venv'

render: install-render ## Render into OUT (build) with ANSWERS="project_slug=shop kubernetes=no"
	@"$(BIN)/python" tests/render.py '$(OUT)' $(ANSWERS)
	@echo "Rendered into $(OUT)"

test: install ## Run all tests; ARGS="-k slug" picks some
	"$(BIN)/python" -m pytest -n auto --dist loadfile -m 'not live' $(ARGS) || $(NONE_PICKED)
	"$(BIN)/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m live $(ARGS) || $(NONE_PICKED)

e2e: install ## Run the promises on the running service only
	"$(BIN)/python" -m pytest tests/e2e $(ARGS)

conformance: ## Run FastAPI's, Starlette's and uvicorn's own tests through the library; SUITE=uvicorn picks one
	@mkdir -p build && $(MAKE) -C '$(LIBRARY)' conformance VENV='$(CURDIR)/build/library-venv' SUITE='$(SUITE)' SDISTS='$(SDISTS)'

image: install ## Build the image and run it under compose (needs Docker); IMAGE_PYTHON=3.14
	IMAGE=1 "$(BIN)/python" -m pytest tests/test_image.py $(ARGS)

audit: install ## Read image, workflows and Kubernetes files with checkov
	@# In an environment of its own: it pins what others need newer.
	@[ -e build/checkov/installed ] || { python3 -m venv --clear build/checkov \
		&& build/checkov/bin/python -m pip install -q --disable-pip-version-check checkov==3.3.30 \
		&& touch build/checkov/installed; }
	CHECKOV='$(CURDIR)/build/checkov/bin/checkov' "$(BIN)/python" -m pytest tests/deployment -k checkov $(ARGS)

check: install ## Lint, format, types and workflows, in place
	@$(EACH) each "$(BIN)/ruff" check .; \
	each "$(BIN)/ruff" format --check .; \
	each "$(BIN)/python" -m mypy; \
	each "$(BIN)/yamllint" --strict .; \
	each "$(BIN)/actionlint"; \
	each "$(BIN)/zizmor" --quiet --offline --persona auditor .; exit $$failed

format: install ## Put the code in order
	@$(EACH) each "$(BIN)/ruff" check --fix .; each "$(BIN)/ruff" format .; exit $$failed

lock: install-render ## Resolve the dependencies of the template, the service and the library again (needs uv); ARGS=--upgrade
	@rm -rf build/lock && "$(BIN)/python" tests/render.py build/lock >/dev/null
	$(MAKE) -C build/lock/my-service lock ARGS='$(ARGS)'
	$(MAKE) -C build/lock/my-service/vendor/servekit lock ARGS='$(ARGS)' CONSTRAINTS='-c ../../requirements/dev.txt'
	cp build/lock/my-service/requirements/*.txt '$(SERVICE)/requirements/'
	cp build/lock/my-service/vendor/servekit/requirements/*.txt '$(LIBRARY)/requirements/'
	for group in dev render; do uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' $(ARGS) -c '$(SERVICE)/requirements/dev.txt' --group $$group -o requirements/$$group.txt; done
	$(MAKE) vendor-hash

vendor-hash: install-render ## Record the hash of the library's files, by which a project knows that nobody changed them
	@rm -rf build/hash && "$(BIN)/python" tests/render.py build/hash >/dev/null
	@"$(BIN)/python" build/hash/my-service/vendor/fingerprint.py > '$(LIBRARY).sha256'

install-render:
	@[ -e "$(RENDER)" ] || { $(INSTALL) requirements/render.txt && rm -f "$(VENV)"/.template-render-* && touch "$(RENDER)"; }

install:
	@[ -e "$(DEV)" ] || { $(INSTALL) requirements/dev.txt && rm -f "$(VENV)"/.template-* && touch "$(RENDER)" "$(DEV)"; }
