#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The allocation of a page map fails: a raw namespace becomes a disk without DAX, and the driver
# refuses an fsdax namespace.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

FAULTS=/sys/kernel/debug/failslab

# fail_in FUNCTION -- make all allocations in the function fail, for processes that set
# make-it-fail.
fail_in() {
	local start end

	read -r start end < <(sort /proc/kallsyms | awk -v name="$1" '
		start && $1 > start { print "0x" start, "0x" $1; exit }
		$3 == name { start = $1 }')
	echo "$start" >$FAULTS/require-start && echo "$end" >$FAULTS/require-end &&
		echo 100 >$FAULTS/probability && echo -1 >$FAULTS/times && echo 0 >$FAULTS/verbose &&
		echo Y >$FAULTS/task-filter && echo N >$FAULTS/ignore-gfp-wait
}

# bind_short -- bind while allocations fail.
bind_short() {
	(echo 1 >/proc/self/make-it-fail && ns_device "$NS" >"$ND/drivers/daxmf_pmem/bind")
}

fail_nothing() {
	echo 0 >$FAULTS/probability
}

raw() {
	bind_short && DISK=$(ns_disk "$NS") && is cat "/sys/block/$DISK/queue/dax" 0 &&
		log_says "$NS: gets no page frames \(ENOMEM\), so no DAX" &&
		write_zeroes && dax_read "/dev/$DISK" 5
}

fsdax() {
	fails_with "Cannot allocate memory" bind_short && fails_with "has no disk" ns_disk "$NS"
}

# has_dax -- bind while allocations succeed, and check that the disk has DAX.
has_dax() {
	ns_unbind "$NS"
	ns_bind "$NS" && is cat "/sys/block/$(ns_disk "$NS")/queue/dax" 1
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
[ -e $FAULTS/require-start ] || skip_all "the kernel injects no faults into a function"
require_ns memmap
on_exit make_raw "$NS"
require load_driver daxmf_pmem
on_exit fail_nothing
require fail_in memremap_pages
check "raw: a disk without DAX" \
	raw
check "raw, with memory: DAX" \
	has_dax
require make_fsdax "$NS" ram
require ns_unbind "$NS"
check "fsdax: refused" \
	fsdax
check "fsdax, with memory: DAX" \
	has_dax
finish
