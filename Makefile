# SPDX-License-Identifier: GPL-2.0
#
# What a person types. kbuild reads Kbuild instead; this file only calls scripts.

KERNEL ?= stock
export KERNEL

all: modules

modules:
	@scripts/modules $(if $(KDIR),"$(KDIR)",$(KERNEL))

vm: modules
	@scripts/vm

.PHONY: all modules vm
