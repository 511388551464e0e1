# SPDX-License-Identifier: GPL-2.0-only
#
# What can be made here; 'make help' prints the lines marked ##. Kbuild says how the modules are put together.

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
DEMO_KERNEL ?= 6.12

VM := tools/testing/vm
# Without the kernel's vmlinux there is nothing to make BTF from: do not try, module by module.
BTF := $(if $(wildcard $(KDIR)/vmlinux),,CONFIG_DEBUG_INFO_BTF_MODULES=)
KBUILD_ARGS := --no-print-directory -C $(KDIR) M=$(CURDIR) $(BTF)
TEST_ARGS := --no-print-directory -C $(KDIR) M=$(CURDIR)/tools/testing/kernel $(BTF)

# Without a key of one's own there is nothing to sign with.
SIGN := $(if $(wildcard $(KDIR)/certs/signing_key.pem),,CONFIG_MODULE_SIG_ALL=)
RELEASE = $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' $(KDIR)/include/generated/utsrelease.h)

# Below DESTDIR, for whoever makes packages; kbuild calls it INSTALL_MOD_PATH.
MOD_ROOT = $(or $(INSTALL_MOD_PATH),$(DESTDIR))
MODULE_FILES := $(foreach m,tunnel4 gre ip_tunnel_core ipip ip_gre,$(m).ko $(m).ko.xz $(m).ko.zst $(m).ko.gz)
PREFIX ?= /usr
DOCUMENTS := README.md CHANGELOG.md SECURITY.md $(addprefix doc/,architecture.md differences.md features.md performance.md troubleshooting.md)

comma := ,
space := $(subst ,, )

DEB_TOOLS := build-essential debhelper dh-dkms git lintian
RPM_TOOLS := git rpm rpmlint

.PHONY: modules test-module install clean deps demo check check-debug parity check-clients check-swap check-flavours check-arm64 check-builds lint roots debug-kernel debug-kernels help
.PHONY: uninstall install-tools uninstall-tools
.PHONY: bench bench-smoke check-segments check-hostile fuzz dist deb rpm dkms-install dkms-remove release-check check-package
.DEFAULT_GOAL := modules

modules: ## build the modules for the running kernel (KVER=release or KDIR=directory: another)
	@tools/check-config $(KDIR)
	@$(MAKE) $(KBUILD_ARGS) modules
	@tools/check-symbols $(KDIR) $(CURDIR)

install: modules ## install them to updates/, where modprobe prefers them ('make uninstall' undoes it)
	@$(MAKE) $(KBUILD_ARGS) $(SIGN) INSTALL_MOD_DIR=updates $(if $(MOD_ROOT),INSTALL_MOD_PATH=$(MOD_ROOT)) modules_install
	@depmod $(if $(MOD_ROOT),-b $(MOD_ROOT)) $(RELEASE)

uninstall: ## remove what 'make install' installed; what is loaded stays ('iptnl restore' first)
	@tools/check-config --present $(KDIR)
	@cd $(MOD_ROOT)/lib/modules/$(RELEASE)/updates && rm -f $(MODULE_FILES)
	@rmdir $(MOD_ROOT)/lib/modules/$(RELEASE)/updates 2>/dev/null || true
	@depmod $(if $(MOD_ROOT),-b $(MOD_ROOT)) $(RELEASE)

install-tools: ## install the program iptnl, the manual pages and the documents below PREFIX=/usr
	install -D -m 755 tools/iptnl/iptnl $(DESTDIR)$(PREFIX)/sbin/iptnl
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/iptnl tools/iptnl/*.py
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man7 doc/iptnl.7
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 doc/iptnl.8
	$(if $(DOCUMENTS),install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/iptnl $(DOCUMENTS))

uninstall-tools: ## remove what 'make install-tools' installed
	rm -f $(DESTDIR)$(PREFIX)/sbin/iptnl
	rm -f $(DESTDIR)$(PREFIX)/share/man/man7/iptnl.7 $(DESTDIR)$(PREFIX)/share/man/man8/iptnl.8
	rm -rf $(DESTDIR)$(PREFIX)/share/iptnl $(DESTDIR)$(PREFIX)/share/doc/iptnl

test-module: ## build the modules that tests load, in tools/testing/kernel
	@tools/check-config --present $(KDIR)
	@$(MAKE) $(TEST_ARGS) modules

clean: ## remove what a build left
	@tools/check-config --present $(KDIR)
	@$(MAKE) $(KBUILD_ARGS) clean

deps: ## install the Debian packages the targets below need
	@tools/deps

demo: deps ## boot a VM and send traffic through an ipip and a gre tunnel (DEMO_KERNEL=6.12)
	@tools/testing/demo $(DEMO_KERNEL)

check: deps ## build, test and lint on every kernel
	@tools/testing/check

check-debug: deps ## run the tests in kernels that look for memory and locking errors, data races (KERNELS=debug)
	@$(VM)/debug-kernel $(KERNELS)
	@tools/testing/check $(or $(KERNELS),debug)

parity: deps ## compare with the kernel's own modules, scenario by scenario (KERNELS="6.1 6.12 newest")
	@tools/testing/parity/parity $(KERNELS)

check-clients: deps ## openvswitch, FRR, strongSwan, IPVS and others over the modules, on every kernel
	@tools/testing/check --clients

check-flavours: deps ## the demonstration on the PREEMPT_RT and cloud kernels of Debian (KERNELS="6.1 6.12 newest")
	@tools/testing/check-flavours $(KERNELS)

check-arm64: deps ## build the modules for Debian's arm64 kernel, run the demonstration in an emulated machine
	@tools/deps qemu-system-arm
	@tools/testing/demo arm64

check-swap: deps ## "iptnl swap" and "restore" under 200 tunnels, refusals and rollback, on every kernel
	@tools/testing/check --swap

bench: deps ## count instructions, the kernel's modules and ours in one boot (KERNELS="6.1 6.12 newest")
	@tools/deps gnuplot-nox
	@tools/testing/bench/bench $(if $(KERNELS),-k $(subst $(space),$(comma),$(strip $(KERNELS))))

bench-smoke: deps ## a short bench, against pass marks; a part of check
	@tools/testing/bench/bench --smoke $(if $(KERNELS),-k $(subst $(space),$(comma),$(strip $(KERNELS))))

check-segments: deps ## GSO packets through every tunnel and card, byte for byte as without GSO (KERNELS="6.1 6.12 newest")
	@tools/testing/segments/segments $(if $(KERNELS),-k $(subst $(space),$(comma),$(strip $(KERNELS))))

COUNT ?= 100000
SEED ?= 1
fuzz: deps ## fuzzed packets, also compared with in-tree, and random requests (KERNELS=6.12 COUNT=100000 SEED=1)
	@for kernel in $(or $(KERNELS),6.1 6.12 newest); do for what in packets compare config; do \
		tools/testing/fuzz/fuzz -k $$kernel --seed $(SEED) --count $(COUNT) $$what || exit 1; done; done

check-hostile: deps ## fuzzing, failing allocations, churn, line coverage: hours (PARTS="packets config", SEED=20261128)
	@$(VM)/debug-kernel debug gcov
	@tools/testing/hostile/hostile $(if $(filter file,$(origin SEED)),,--seed $(SEED)) $(PARTS)

check-builds: deps ## compile the modules by clang, with gcc -fanalyzer, for arm64 and s390x (BUILDS="clang s390x")
	@tools/testing/check-builds $(BUILDS)

lint: deps ## checkpatch, sparse, W=1, shellcheck and the project's own rules
	@tools/lint

dkms-install: ## install the modules with DKMS, for this kernel and those to come ('make dkms-remove' undoes it)
	@! command -v apt-get >/dev/null || tools/deps --only dkms openssl
	@tools/package dkms-install

dkms-remove:
	@tools/package dkms-remove

deb: ## make Debian packages in dist/
	@tools/deps --only $(DEB_TOOLS)
	@tools/package deb

rpm: ## make RPMs in dist/
	@tools/deps --only $(RPM_TOOLS)
	@tools/package rpm

dist: ## make the release tarball of the last commit in dist/
	@tools/deps --only git python3
	@tools/package dist

check-package: deps ## install the Debian package in clean roots and boot them; Secure Boot (KERNELS="6.1 6.12 newest")
	@tools/deps $(DEB_TOOLS) ovmf openssl
	@tools/testing/package/check-package $(KERNELS)

release-check: ## prove that the last commit can be released
	@tools/deps $(DEB_TOOLS) $(RPM_TOOLS)
	@tools/release-check

roots: deps ## make the root directories of the VMs now, instead of when first needed
	@$(VM)/roots

debug-kernel: deps ## build the kernel that check-debug boots (once, 15 minutes; KERNELS=debug)
	@$(VM)/debug-kernel $(KERNELS)

debug-kernels: deps ## build all debug kernels, which vm/README.md lists
	@$(VM)/debug-kernel --all

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target text; do printf '  make %-14s %s\n' "$$target" "$$text"; done
	@echo
	@echo "  $(VM)/run -k 6.12 -- COMMAND   runs any command in a VM with the modules; --help explains"
