#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a holder answers arrives where it was notified, and in the counters, as what it is.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# answered ANSWER DELIVERED DECLINED FAILED OUTCOME -- by a failed page, and by a range.
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

# fails NUMBER ERRNO -- with this errno it fails, and with that it arrives; some kernels print a
# number.
fails() {
	local number

	number=$(python3 -c "import errno; print(errno.$2)") || return
	answered "-$1" 0 0 1 "failed: ($2|Error\\($number\\))"
}

begin 6
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require modprobe hwpoison-inject
require_disk "$KIND"

check "taken" \
	answered 0 1 0 0 "delivered"
check "declined" \
	answered 1 0 1 0 "declined: not supported by the holder"
check "failed" \
	fails 5 EIO
check "failed as a dead device would" \
	fails 6 ENXIO
check "failed as a holder without support would" \
	fails 95 EIO
check "failed as if the process had been signalled" \
	fails 133 EIO
finish
