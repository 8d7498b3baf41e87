#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The block translation table of a sector namespace gets the errors that the platform has recorded.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

read_all() {
	dd if="/dev/$DISK" of=/dev/null bs=1M count=8 iflag=direct status=none
}

# nfit records a machine check in written blocks. Reads of these blocks fail.
platform_record() {
	DISK=$(ns_disk "$NS") && write_zeroes && read_all &&
		host-mce $(($(ns_get "$NS" resource) + (4 << 20))) &&
		wait_for grep -q . "$ND/devices/$NS/../badblocks" &&
		fails_with "Input/output error" read_all
}

begin 1
require_ns nvdimm
on_exit make_raw "$NS"
on_exit reset_nfit
require make_sector "$NS"
check "reads fail after a machine check" \
	platform_record
finish
