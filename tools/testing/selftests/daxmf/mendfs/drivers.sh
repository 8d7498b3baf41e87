#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Bad pages of files: with nd_pmem, which does not list the pages as bad; with daxmf_pmem, which
# lists them; and on an NVDIMM, on which they cannot be repaired.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

remembers() {
	stays_bad && write_page stays 5 && has_page stays 5 && wait_repaired
}

# --- Memory that cannot be repaired ---

nvdimm_moves() {
	local before after

	fill moved 16 && before=$(address moved 5) && poison_page moved 5 && write_page moved 5 &&
		has_page moved 5 && same_except moved 5 && after=$(address moved 5) &&
		[ "$before" != "$after" ] && [ -s "/sys/block/$DISK/badblocks" ]
}

nvdimm_retires() {
	local before

	fill free 1 && before=$(address free 0) && rm free && BEFORE=$(free_pages) &&
		poison "$before" && wait_for log_says "mendfs: $DISK: 1 of the blocks .* cannot be repaired" &&
		is free_pages $((BEFORE - 1)) && fill free 1 && [ "$(address free 0)" != "$before" ]
}

nvdimm_remembers() {
	local before

	before=$(free_pages) && remount && is free_pages "$before" && fill full 1024 &&
		is free_pages $((before - 1024))
}

begin 11
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_ns nvdimm
nvdimm=$NS
require_ns memmap
memmap=$NS

for driver in nd_pmem daxmf_pmem; do
	require use_mendfs "$memmap" $driver
	check "$driver: a bad page stays bad after a mount" remembers
	check "$driver: a write of the whole page repairs it" written_whole
	check "$driver: a free page that fails is used again after its repair" free_fails
	check "$driver: a dirty page fails by a machine check" dirty_fails
done

on_exit reset_nfit
require use_mendfs "$nvdimm"
check "nvdimm: a write of the whole page moves it to another block" nvdimm_moves
check "nvdimm: a free page that fails is not used again" nvdimm_retires
check "nvdimm: the failed page is not used after a mount" nvdimm_remembers
finish
