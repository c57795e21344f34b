# The template's tasks. Each makes its own virtual environment first, and only once.

SERVICE := {{cookiecutter.project_slug}}
VENV ?= $(CURDIR)/.venv
BIN := $(VENV)/bin
OUT ?= build
# Named after the content of the locks, so that it is stale exactly when they change.
STAMP := $(VENV)/.template-$(shell cat requirements.txt '$(SERVICE)/requirements/dev.txt' | cksum | cut -d' ' -f1)

# What pytest ends with when ARGS picks none of these tests.
NONE_PICKED := [ "$(if $(ARGS),$$?)" = 5 ]

export RUFF_NO_CACHE := true
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo render test e2e image audit check format lock install

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: install ## Render the defaults into build/ and run the service
	@rm -rf build/demo
	@"$(BIN)/python" tests/render.py build/demo
	@echo "Rendered the defaults into build/demo/my-service"
	@exec $(MAKE) -C build/demo/my-service run VENV='$(VENV)'

render: install ## Render into OUT (build) with ANSWERS="project_slug=shop kubernetes=no"
	@"$(BIN)/python" tests/render.py '$(OUT)' $(ANSWERS)
	@echo "Rendered into $(OUT)"

test: install ## Run all tests; ARGS="-k slug" picks some
	"$(BIN)/python" -m pytest -n auto --dist loadfile -m 'not live' $(ARGS) || $(NONE_PICKED)
	"$(BIN)/python" -m pytest -m live $(ARGS) || $(NONE_PICKED)

e2e: install ## Run the promises on the running service only
	"$(BIN)/python" -m pytest tests/e2e $(ARGS)

image: install ## Build the image and run it under compose (needs Docker); IMAGE_PYTHON=3.14
	IMAGE=1 "$(BIN)/python" -m pytest tests/test_image.py $(ARGS)

audit: install ## Read image, workflows and Kubernetes files with checkov
	@# In an environment of its own: it pins what others need newer.
	@[ -e build/checkov/installed ] || { "$(BIN)/python" -m venv --clear build/checkov \
		&& build/checkov/bin/python -m pip install -q --disable-pip-version-check checkov==3.3.30 \
		&& touch build/checkov/installed; }
	CHECKOV='$(CURDIR)/build/checkov/bin/checkov' "$(BIN)/python" -m pytest tests/test_deployment.py -k checkov $(ARGS)

check: install ## Lint, format, types and workflows, in place
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/yamllint" --strict .
	"$(BIN)/actionlint"
	"$(BIN)/zizmor" --quiet --offline --persona auditor .

format: install ## Put the code in order
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

lock: install ## Resolve the dependencies of the template and of the service again (needs uv)
	@rm -rf build/lock && "$(BIN)/python" tests/render.py build/lock >/dev/null
	$(MAKE) -C build/lock/my-service lock ARGS='$(ARGS)'
	cp build/lock/my-service/requirements/*.txt '$(SERVICE)/requirements/'
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		$(ARGS) -c '$(SERVICE)/requirements/dev.txt' --group dev -o requirements.txt

install:
	@set -eu; \
	if [ -e "$(STAMP)" ]; then exit; fi; \
	$(MAKE) -C '$(SERVICE)' install VENV='$(VENV)'; \
	echo "Installing requirements.txt"; \
	if command -v uv >/dev/null; then uv pip install -q --python "$(BIN)/python" --require-hashes -r requirements.txt; \
	else "$(BIN)/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt; fi; \
	rm -f "$(VENV)"/.template-*; \
	touch "$(STAMP)"
