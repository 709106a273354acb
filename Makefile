# make demo    the whole job on this machine, from nothing but Python 3.11+ and make
# make test    every test            make check   style, types, the template
# make test-both    every test on each of PYTHONS that is here     make test PYTHON=python3.13   on that one
# make loadtest-full    every line of the load test, then a day over HTTP; half an hour of an idle machine
# make test-long    more examples of what `make test` tries a few of, and the dearest tests
# make load    100,000 identities through the emulated queue: exact totals, flat memory, ids a second
# make docs    the tables of the documents that the code holds: variables, parameters, answers with --json
# make policy    the template against checkov, in an environment of its own
# make build    the functions' package for Lambda, checked: ARCHITECTURE=arm64 or x86_64
# make deploy TO=staging    what `make build` made, as samconfig.toml says
# make bench    what a start, a request and a million ids cost, beside named baselines: minutes of an idle machine
# make cost    what a cold and a warm day cost, in dollars
# make lock    new pins from requirements/*.in    make clean   what the others made

PYTHON ?= python3
PYTHONS ?= python3.11 python3.13
VENV := .venv
ifneq ($(origin PYTHON),file)
# The first Python makes .venv; another one that is asked for has an environment of its own beside it, .venv-3.13.
ASKED := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
MADE := $(shell sed -n 's/^version = \([0-9]*\.[0-9]*\).*/\1/p' .venv/pyvenv.cfg 2>/dev/null)
$(if $(ASKED),,$(error Python 3.11 or newer is needed, and $(PYTHON) is none))
VENV := .venv$(addprefix -,$(filter-out $(MADE),$(if $(MADE),$(ASKED))))
endif
SAM := .venv-sam
POLICY := .venv-policy
BIN := $(VENV)/bin
ARCHITECTURE ?= arm64

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export SAM_CLI_TELEMETRY := 0
# sam reads a region before it looks at the template; none is ever called.
export AWS_DEFAULT_REGION ?= us-east-1

# A lock file is the whole closure, so pip resolves nothing and takes only what has one of its hashes. Python compiles
# what it imports when it is imported; pip would compile all of it, which takes half of an installation's time.
INSTALL = pip install -qq --no-compile --no-deps --require-hashes -r
# The project itself, editable; its build backend is one of the pins.
INSTALL_PROJECT = pip install -qq --no-deps --no-build-isolation -e .

.PHONY: help demo test test-both test-long load loadtest-full check docs policy build deploy bench cost lock clean
.PHONY: check-docs check-sam check-style check-template check-types
.DEFAULT_GOAL := demo

help:
	@sed -n '/^# make/!q; s/^# //p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.demo
	@$(BIN)/rotation demo $(ARGS)

# More workers than cores, since many tests wait for other processes; one test at a time for each, since the longest
# take a thousand times as long as most.
test: $(VENV)/.dev
	@$(BIN)/pytest -n 4 --maxschedchunk 1 $(ARGS)

test-both:
	@tested=1; for python in $(PYTHONS); do \
		$$python -c '' 2>/dev/null || { echo "$$python is not here"; continue; }; \
		echo "$$python"; $(MAKE) --no-print-directory test PYTHON=$$python || exit 1; tested=0; \
	done; exit $$tested

test-long: $(VENV)/.dev
	@$(BIN)/pytest -n 4 --maxschedchunk 1 -m long $(ARGS)

load: $(VENV)/.demo
	@$(BIN)/python -m bench.queue $(ARGS)

loadtest-full: $(VENV)/.dev
	@$(BIN)/rotation loadtest --lines --days 48 -o .build/loadtest
	@$(BIN)/rotation loadtest --stand-in --days 1 --runtime-per-minute 10 -o .build/stand-in

# Side by side, the installations too; -O keeps what each says together, -k lets all have their say.
check:
	@$(MAKE) --no-print-directory -j 2 $(if $(filter output-sync,$(.FEATURES)),-O) -k check-types check-sam check-template check-style check-docs
	@echo "check: style, types, template and tables are good"

check-style: $(VENV)/.dev
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .

check-docs: $(VENV)/.dev
	@$(BIN)/python -m ops.docs --check

docs: $(VENV)/.dev
	@$(BIN)/python -m ops.docs

check-types: $(VENV)/.dev
	@$(BIN)/mypy --no-error-summary

check-template: $(VENV)/.dev
	@mkdir -p .build
	@$(BIN)/cfn-lint template.yaml
	@$(BIN)/python -m local.deploy >.build/transformed.json
	@$(BIN)/cfn-lint .build/transformed.json

check-sam: $(SAM)/.sam
	@$(SAM)/bin/sam validate --lint >$(SAM)/validate.log 2>&1 || { cat $(SAM)/validate.log; exit 1; }

# Not in `check`: its hundred packages take longer to install than all of that takes to run.
policy: $(POLICY)/.policy
	@# As if every condition held: what is off by default would not be looked at.
	@sed 's/^    Condition: .*//' template.yaml >$(POLICY)/template.yaml
	@$(POLICY)/bin/checkov -f $(POLICY)/template.yaml --framework cloudformation --compact --quiet --skip-download
	@echo "policy: every finding is fixed, or answered beside its resource"

# Needs pip and nothing else; what it makes is the same whatever Python made it.
build: | $(VENV)/bin/pip
	@$(BIN)/python -m ops.build --architecture $(ARCHITECTURE)

deploy: $(VENV)/.demo $(SAM)/.sam
	@$(BIN)/python -m ops.deploy $(TO) $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python -m bench $(ARGS)

cost: $(VENV)/.demo
	@$(BIN)/python -m bench.cost $(ARGS)

lock: $(VENV)/.dev
	@for name in dev authorize local policy runtime sam server; do \
		case $$name in authorize | local | runtime | server) same="-c requirements/dev.txt" ;; *) same="" ;; esac; \
		$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
			$$same requirements/$$name.in -o requirements/$$name.txt $(ARGS) || exit 1; \
	done

clean:
	@rm -rf .venv .venv-* .build .hypothesis .mypy_cache .pytest_cache .ruff_cache

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

$(POLICY)/.policy: requirements/policy.txt | $(POLICY)/bin/pip
	@echo "installing the policy linter into $(POLICY)"
	@$(POLICY)/bin/$(INSTALL) requirements/policy.txt
	@touch $@

$(VENV)/bin/pip $(SAM)/bin/pip $(POLICY)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(@D)/..
