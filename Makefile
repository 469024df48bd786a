# SPDX-License-Identifier: MIT
#
# `make help` lists the targets. Variables that several of them take:
#   KERNEL=6.1|6.12|7.2|rt|lockdep|kasan   what the guest runs (default 6.12)
#   ARCH=arm64      with another processor, for run and vm, on 6.12 and 7.2 (default amd64)
#   APPEND='...'    more kernel options       CPUS=n      guest CPUs (default 2)
#   TIMEOUT=s       give the guest up         ICOUNT=1    guest time counts instructions
#   THREADS=0|1     emulate its CPUs at once (default for run and vm) or in turn (for the tests)
#   PYTEST='...'    more pytest options       MODULES='dmabuf_sync ...'  load only these
#   SECONDS=n or CALLS=n, SEED=n   how long or how many, and which calls, for fuzz
#   MUTANT='...'    names of the mutants for test-mutants (default all)

KDIR ?= /lib/modules/$(shell uname -r)/build
PYTHON ?= python3
GUEST = PYTHONPATH=$(CURDIR)/scripts PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m guest
STATUS_FILE := build/.status-$(shell echo $$PPID)

# The command reaches the guest as it was typed; $$, as other makefiles need it, is taken for $.
ifdef CMD
override CMD := $(subst $$$$,$$,$(value CMD))
export CMD
endif
export KERNEL SHARE APPEND CPUS THREADS ICOUNT TIMEOUT PYTEST MUTANT SECONDS CALLS SEED
ifdef MODULES
export MODULES
endif
# The kernel's own makefiles would take an empty one for a name.
ifdef ARCH
export ARCH
endif

modules: ## build the modules for KDIR, or else for the running kernel (the default)
	@test -e $(KDIR)/Makefile || \
		{ echo "no kernel headers in $(KDIR): install them, or name others with KDIR=" >&2; exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

run: python ## do the main job in the guest; pictures go to build/
	@$(GUEST) run

test: python ## run the unit tests here and the system tests in the guest
	@$(GUEST) test

# make ends with status 2 whatever the recipe's was, so here a function of our own ends it; without
# that function the recipe fails as usual, and the status is in make's last line.
vm: vm-status ## run CMD='...' in the guest and end with its status; SHARE=folder is there read-only
	@$(eval STATUS := $(file <$(STATUS_FILE)))$(shell rm -f $(STATUS_FILE))\
	$(eval -load build/make_status.so)$(end-with $(STATUS))exit $(STATUS)

vm-status: python
	@mkdir -p build
	@$(GUEST) vm; echo $$? >$(STATUS_FILE)

test-slow: python ## run the tests that take minutes
	@$(MAKE) --no-print-directory vm THREADS=$(or $(THREADS),0) TIMEOUT=7200 CMD='env PYTHONPATH=python:scripts python3 -m pytest -m slow tests/unit/test_model.py tests/system'

test-matrix: python ## run the system tests on 6.1, 6.12 and 7.2, some with other CPUs= and preempt=
	@$(GUEST) test-matrix

test-debug: python ## run the system tests on kernels that check locking and memory
	@$(GUEST) test-debug

test-planted: python ## see the debug kernels notice bugs of every kind
	@$(GUEST) test-planted

test-mutants: python ## see tests fail: break the modules in many ways, one at a time
	@$(GUEST) test-mutants

test-peers: python ## see the kernel's own tests and stress-ng find no difference with the modules
	@$(GUEST) test-peers

test-suspend: python ## suspend the guest while locks are held and waited for
	@$(GUEST) test-suspend

coverage: python ## run the system tests and tell which lines and branches of kernel/ they reach
	@$(GUEST) coverage

fuzz: python ## make random calls for SECONDS=60, or CALLS, with SEED=1 on the debug kernels
	@$(GUEST) fuzz

bench: python ## measure locks, counted in instructions; figures go to build/bench.json
	@$(GUEST) bench

lint: python ## check the style of the Python and the kernel part
	@$(GUEST) lint

man: python ## write man pages and shell completion into build/
	@$(GUEST) man

clean: ## remove what was built in this folder
	@if test -e $(KDIR)/Makefile; then $(MAKE) -C $(KDIR) M=$(CURDIR) clean; fi
	rm -rf build python/dmabuf_sync/_[ku]*.so

clean-cache: ## remove the guest's trees, kernels and Python environments
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/dmabuf-sync"

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

# The one thing the set-up cannot install for itself.
python:
	@command -v $(PYTHON) >/dev/null || sh scripts/install-python

.PHONY: modules run test vm vm-status test-matrix test-debug test-planted test-mutants test-peers test-suspend coverage fuzz bench lint man clean clean-cache help python
