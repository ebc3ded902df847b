# One command each. `make help` lists them; CI runs `make test` and nothing else.

PYTHON ?= python3
# Extra words for pytest: make test ARGS="tests/dicom -x"
ARGS ?=
# make test WORKERS=0: one test after another
WORKERS ?= 2
# make run ONCE=1: one study makes the trip, then everything stops
ONCE ?=
# make fuzz LONG=1: a million inputs instead of tens of thousands
LONG ?=
# make bench ONLY=ingest,worklist ROUNDS=7: some of the tables; ARGS=--smoke: see that the bench works
ONLY ?=
ROUNDS ?= 5
# make image RELEASE=1.2.0 SEQUENCE=7 ARCH=arm64 KEY=release.pem TWICE=1
RELEASE ?= 0.1.0
SEQUENCE ?= 1
ARCH ?= amd64
KEY ?=
TWICE ?=
# make safety KILLS=5 CUTS=5: a shorter round
KILLS ?= 30
CUTS ?= 30
# Studies of the adversary: the table of docs/safety.md is written from 300,000 on
STUDIES ?= 300000
# make hwtest PROFILE=file CONFIG=file
PROFILE ?= generic
CONFIG ?= /etc/gateway/gateway.toml

BIN := .venv/bin
NODE := tests/peers/node
# The programs that the tests drive as foreign peers and as faults, each as program:Debian package
PROGRAMS := dcmdump:dcmtk dciodvfy:dicom3tools Orthanc:orthanc nbdkit:nbdkit nbdfuse:libnbd-bin mosquitto:mosquitto strace:strace \
  mkfs.ext4:e2fsprogs ffmpeg:ffmpeg gdcmconv:libgdcm-tools fusermount3:fuse3 ip:iproute2 chromium:chromium node:nodejs npm:npm rsyslogd:rsyslog socat:socat \
  systemd-analyze:systemd nats-server:nats-server prometheus:prometheus victoria-metrics:victoria-metrics setpriv:util-linux
GUEST := qemu-system-x86_64:qemu-system-x86 swtpm:swtpm mmdebstrap:mmdebstrap zstd:zstd cpio:cpio mkfs.ext4:e2fsprogs
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

# Where tests keep their files: in memory if there is room, for most of their time goes into syncing a disk that they
# share. What is said of disks is tested by those marked safety, which keep theirs on one.
SCRATCH := if [ "$$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 8000000 ] 2>/dev/null; \
  then mktemp -d /dev/shm/gateway.XXXXXX; else mktemp -d; fi

.DEFAULT_GOAL := help
.PHONY: help setup system run test check schemas bench fuzz safety soak deb deb-test hwtest hwtest-qemu lock clean image image-tools image-test

help: ## This list
	@echo "The modality gateway. What you can make:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: system .venv/.dev $(if $(wildcard $(NODE)/package.json),$(NODE)/node_modules/.package-lock.json) ## Everything the tests need; quick the second time

# A package already on the machine from elsewhere counts: what matters is the program
system:
	@missing=""; PATH="$$PATH:/usr/sbin:/sbin"; \
	for pair in $(PROGRAMS); do \
	  command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	ls /usr/lib/*/nbdkit/plugins/nbdkit-python-plugin.so >/dev/null 2>&1 || missing="$$missing nbdkit-plugin-python"; \
	ls /usr/share/orthanc/plugins/libOrthancDicomWeb.so >/dev/null 2>&1 || missing="$$missing orthanc-dicomweb"; \
	ls /usr/lib/*/rsyslog/lmnsd_ossl.so >/dev/null 2>&1 || missing="$$missing rsyslog-openssl"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "setup: installing$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else \
	  echo "setup: missing:$$missing. Tests that need them fail; install them with: sudo apt-get install$$missing"; \
	fi

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: $(PYTHON) is older than 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@echo "setup: making .venv"
	@$(PYTHON) -m venv .venv

# What the gateway itself needs, and the command `gateway`
.venv/.run: requirements.lock pyproject.toml | $(BIN)/python
	@echo "setup: installing what the gateway needs"
	@$(PIP) -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# What its tests and gates need
.venv/.dev: requirements-dev.lock .venv/.run
	@echo "setup: installing what the tests need"
	@$(PIP) -r requirements-dev.lock
	@touch $@

$(NODE)/node_modules/.package-lock.json: $(NODE)/package.json $(NODE)/package-lock.json
	@echo "setup: installing what the browser tests need"
	@cd $(NODE) && npm ci --silent --no-audit --no-fund
	@touch $@

run: .venv/.run ## Simulated RIS, scanner and PACS around the gateway; one study makes the trip (ONCE=1: then stop)
	@$(BIN)/gateway simulate trip $(if $(ONCE),--once)

# Tests wait more than they work, so several run at a time; those that kill, cut power or besiege have the machine to
# themselves. Status 5 is pytest's for no test at all, as where ARGS names those of one kind.
test: setup ## All set-up and all tests
	@where=$$($(SCRATCH)); trap 'rm -rf "$$where"' EXIT; \
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --basetemp="$$where/tests" -m "not safety and not package" $(ARGS); several=$$?; \
	[ $$several -le 1 ] || [ $$several = 5 ] || exit $$several; \
	$(BIN)/python -m pytest -q -m safety $(ARGS); alone=$$?; \
	case "$$several $$alone" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac

check: .venv/.dev ## The fast gates: format, lint, types, floors, unit tests
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 12
	@$(BIN)/python -m pytest -q -m "not slow and not safety" tests/domain tests/dicom tests/spool tests/test_config.py $(ARGS)

schemas: .venv/.dev ## Write the contract of MQTT anew, as the code has it: docs/asyncapi.yaml, docs/mqtt.schema.json
	@$(BIN)/python -m tests.contract

bench: .venv/.dev ## Measure beside DCMTK, Orthanc and pynetdicom (two to three hours, ONLY=table: less) into docs/performance.md
	@$(BIN)/python -m bench --rounds $(ROUNDS) $(if $(ONLY),--only $(ONLY)) $(ARGS)

fuzz: .venv/.dev ## Fuzz everything that reads bytes of others (LONG=1: a million inputs)
	@$(BIN)/python -m tests.fuzz $(if $(LONG),--long) $(ARGS)

safety: setup ## Kill and cut power under load, 30 times each, besiege the listeners, correct 300,000 dirty studies
	@GATEWAY_KILLS=$(KILLS) GATEWAY_OUTAGE_HOURS=72 GATEWAY_CUTS=$(CUTS) GATEWAY_SIEGE=full GATEWAY_STUDIES=$(STUDIES) \
	  $(BIN)/python -m pytest -v -m safety --timeout=3600 $(ARGS)

hwtest: .venv/.run ## Test this very machine as a gateway: gateway commission (PROFILE=generic, CONFIG=/etc/gateway/gateway.toml)
	@$(BIN)/gateway commission --profile $(PROFILE) --config $(CONFIG) $(ARGS)

hwtest-qemu: setup ## The hardware tests in an emulated machine, each fault planted (needs root, about 20 minutes)
	@missing=""; for pair in $(GUEST); do command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	[ -z "$$missing" ] || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
	@$(BIN)/python -m tests.guest build/guest $(ARGS)

soak: ## make safety, ten times as long
	@$(MAKE) --no-print-directory safety KILLS=300 CUTS=300 STUDIES=3000000

deb: .venv/.run ## The Debian package for this machine's release, with all it needs but Python, into build/deb
	@packaging/deb/build

# What the package says that it needs is in the machine already: the test itself goes to no network
DEB_TEST_ROOT := build/deb-test/root.tar
deb-test: setup deb $(DEB_TEST_ROOT) ## Install, upgrade, run and remove the package in a fresh Debian of this release (as root)
	@$(BIN)/python -m pytest -v -m package tests/packaging $(ARGS)

$(DEB_TEST_ROOT):
	@command -v mmdebstrap >/dev/null || apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
	@mkdir -p $(@D)
	@. /etc/os-release && mmdebstrap --quiet --format=tar --variant=minbase \
	  --include="$$(basename "$$(readlink -f /usr/bin/python3)"),ca-certificates,init-system-helpers" "$$VERSION_CODENAME" $@.new
	@mv $@.new $@

# What only the image is built and booted with, as program:package; none of it is needed for `make test`
IMAGE_PROGRAMS := mmdebstrap:mmdebstrap mkfs.erofs:erofs-utils veritysetup:cryptsetup-bin mcopy:mtools mkfs.vfat:dosfstools \
  sfdisk:fdisk grub-mkstandalone:grub-common qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils swtpm:swtpm

image-tools:
	@missing=""; PATH="$$PATH:/usr/sbin:/sbin"; \
	for pair in $(IMAGE_PROGRAMS); do command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || missing="$$missing ovmf"; \
	[ -d /usr/lib/grub/x86_64-efi ] || missing="$$missing grub-efi-amd64-bin"; \
	[ "$(ARCH)" = amd64 ] || [ -d /usr/lib/grub/arm64-efi ] || missing="$$missing grub-efi-arm64-bin qemu-user-static arch-test"; \
	if [ -n "$$missing" ]; then echo "image: installing$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

image: image-tools .venv/.run deb ## The appliance's image and its signed release (KEY=file; TWICE=1: proves two builds the same), as root
	@$(BIN)/python -m image build --version $(RELEASE) --sequence $(SEQUENCE) --arch $(ARCH) --deb "$$(ls -t build/deb/*_$(ARCH).deb | head -n 1)" \
	  $(if $(KEY),--key $(KEY)) $(if $(TWICE),--twice)

image-test: image-tools .venv/.dev deb ## Boot the image in an emulated machine: first patient, crashes, updates (up to 45 minutes)
	@$(BIN)/python -m image build --test --deb "$$(ls -t build/deb/*_amd64.deb | head -n 1)"
	@$(BIN)/python -m pytest -v -s -p no:cacheprovider image/test $(ARGS)

LOCK := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --build-deps-for editable

lock: .venv/.dev ## Choose the newest versions of what we depend on, within pyproject.toml
	@$(LOCK) --upgrade --extra commission --output-file requirements.lock pyproject.toml
	@$(LOCK) --upgrade --extra dev --extra commission --extra bench --extra fleet --extra htj2k --constraint requirements.lock \
	  --output-file requirements-dev.lock pyproject.toml

clean: ## Remove what was made here, the virtual environment included
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build run *.egg-info $(NODE)/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
