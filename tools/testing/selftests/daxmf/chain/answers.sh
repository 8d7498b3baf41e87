#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The source of a failure gets the answer of the holder, and the counters count this answer.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# answered ANSWER DELIVERED DECLINED FAILED OUTCOME -- the holder returns ANSWER for a failed page
# and for a failed range. Check the counters, and the outcome that rust_dax_source logs.
answered() {
	local before mark="answer $1 $RANDOM" status=0

	before=$(counters "$DISK")
	hold "$DISK" "answer=$1" || return
	poison "$START"
	log_mark "$mark"
	modprobe rust_dax_source "device=/dev/$DISK"
	{ is notified 2 && counters_moved "$DISK" "$before" "$2" "$3" "$4" &&
		log_says "^rust_dax_source: device=.*: $5\$" "$mark"; } || status=1
	! module_loaded rust_dax_source || rmmod rust_dax_source
	release
	return $status
}

# fails NUMBER ERRNO -- check that the outcome is "failed" with ERRNO if the holder returns -NUMBER.
# Some kernels print ERRNO as a number.
fails() {
	local number

	number=$(python3 -c "import errno; print(errno.$2)") || return
	answered "-$1" 0 0 1 "failed: ($2|Error\\($number\\))"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_disk "$KIND"

check "delivered" \
	answered 0 1 0 0 "delivered"
check "declined" \
	answered 1 0 1 0 "declined: not supported by the holder"
check "failed" \
	fails 5 EIO
check "failed with ENXIO, the errno of a dead device" \
	fails 6 ENXIO
check "failed with EOPNOTSUPP, the errno of a holder without support" \
	fails 95 EIO
check "failed with EHWPOISON, as if the process had been signalled" \
	fails 133 EIO
finish
