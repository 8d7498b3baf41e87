#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the platform finds bad reaches the block translation table of a sector namespace.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

read_all() {
	dd if="/dev/$DISK" of=/dev/null bs=1M count=8 iflag=direct status=none
}

# A machine check in blocks that were written, which nfit enters in its list: they read as errors.
platform_record() {
	DISK=$(ns_disk "$NS") && write_zeroes && read_all &&
		host-mce $(($(ns_get "$NS" resource) + (4 << 20))) &&
		wait_for grep -q . "$ND/devices/$NS/../badblocks" &&
		fails_with "Input/output error" read_all
}

begin 1
require_ns nvdimm
on_exit make_raw "$NS"
on_exit forget_poison
require make_sector "$NS"
check "a machine check is known to the disk" \
	platform_record
finish
