# SPDX-License-Identifier: GPL-2.0
#
# The commands for users, which 'make help' lists. Each command calls a script. kbuild does not read
# this file: it reads Kbuild.

MAKEFLAGS += --no-print-directory
KERNEL ?= stock
export KERNEL

help:
	@scripts/help

run: KERNEL = stock
run: modules tools
	@SCRIPT=tools/testing/selftests/daxmf/run.sh PMEM=nvdimm NVDIMMS=2 \
		scripts/vm

test: modules tools
	@scripts/test

soak: modules tools
	@scripts/soak

kernels: tools
	@scripts/kernels

fstests: KERNEL = stock
fstests: modules tools
	@tools/testing/fstests/fstests.sh

bench: KERNEL = stock
bench: modules tools
	@scripts/bench

check:
	@scripts/check

rustdoc:
	@scripts/check rustdoc
	@echo build/doc/daxmf/index.html

modules:
	@scripts/modules $(if $(KDIR),$(abspath $(KDIR)),$(KERNEL)) $(abspath $(M))

tools:
	@scripts/tools build

install:
	@scripts/install programs

modules_install:
	@scripts/install modules $(if $(KDIR),own,$(KERNEL))

deb: modules tools
	@scripts/deb

vm: modules tools
	@scripts/vm

kdir:
	@scripts/kdir

clean:
	rm -rf build

distclean: clean
	@scripts/distclean

.PHONY: help run test soak kernels fstests bench check rustdoc modules tools install modules_install deb vm \
	kdir clean distclean
