# make demo    the whole job on this machine, from nothing but Python 3.11+ and make
# make test    every test            make check   style, types, the template
# make loadtest-full    the throttle's proof: 30 seeds in the model, 3 over HTTP; half an hour of an idle machine
# make test-long    minutes of the tests that `make test` has seconds of
# make lock    new pins from requirements/*.in    make clean   what the others made

PYTHON ?= python3
VENV := .venv
SAM := .venv-sam
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export SAM_CLI_TELEMETRY := 0
# sam reads a region before it looks at the template; none is ever called.
export AWS_DEFAULT_REGION ?= us-east-1

# A lock file is the whole closure, so pip resolves nothing and takes only what has one of its hashes.
INSTALL = pip install -qq --no-deps --require-hashes -r
# The project itself, editable; its build backend is one of the pins.
INSTALL_PROJECT = pip install -qq --no-deps --no-build-isolation -e .

.PHONY: demo test test-long loadtest-full check lock clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo
	@$(BIN)/rotation demo $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

test-long: $(VENV)/.dev
	@$(BIN)/pytest -n 2 --dist loadgroup -m long $(ARGS)

loadtest-full: $(VENV)/.dev
	@$(BIN)/rotation loadtest --proof --seeds 30 -o .build/loadtest
	@$(BIN)/rotation loadtest --stand-in --seeds 3 -o .build/stand-in

check: $(VENV)/.dev $(SAM)/.sam
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/cfn-lint template.yaml
	@$(SAM)/bin/sam validate --lint >$(SAM)/validate.log 2>&1 || { cat $(SAM)/validate.log; exit 1; }
	@$(BIN)/python -m local.deploy >$(SAM)/transformed.json
	@$(BIN)/cfn-lint $(SAM)/transformed.json
	@echo "check: style, types and template are good"

lock: $(VENV)/.dev
	@for name in dev local runtime sam; do \
		case $$name in local | runtime) same="-c requirements/dev.txt" ;; *) same="" ;; esac; \
		$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
			$$same requirements/$$name.in -o requirements/$$name.txt $(ARGS) || exit 1; \
	done

clean:
	@rm -rf $(VENV) $(SAM) .build .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Each environment is made once, and its packages again when their pins change.
$(VENV)/.demo: requirements/local.txt pyproject.toml | $(VENV)/bin/pip
	@echo "installing what the demo runs into $(VENV)"
	@$(BIN)/$(INSTALL) requirements/local.txt
	@$(BIN)/$(INSTALL_PROJECT)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/pip
	@echo "installing what tests and checks run into $(VENV)"
	@$(BIN)/$(INSTALL) requirements/dev.txt
	@$(BIN)/$(INSTALL_PROJECT)
	@touch $@ $(VENV)/.demo  # dev.txt holds all of local.txt, at the same versions

$(SAM)/.sam: requirements/sam.txt | $(SAM)/bin/pip
	@echo "installing the SAM command line into $(SAM)"
	@$(SAM)/bin/$(INSTALL) requirements/sam.txt
	@touch $@

$(VENV)/bin/pip $(SAM)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(@D)/..
