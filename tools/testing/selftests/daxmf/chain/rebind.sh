#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A frame that failed is usable again when its namespace is bound anew and has no record of it.
#
# The machine check takes the frame from the kernel's linear map, and to unplug the memory and plug
# it again leaves the hole there.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

begin 3
require_ns "$KIND"
require xfs_on "$NS"
require fill $MNT/file 16
check "a machine check" \
	told mce $MNT/file,offset=8K
SECTOR=$(file_sector $MNT/file 2)
require unmount
require ns_unbind "$NS"
require ns_bind "$NS"
# A read of a hole fails; a write would be the end of the kernel, so it comes second.
check "the page can be read" \
	dax_read "/dev/$DISK" $((SECTOR * 512 / PAGE))
require dax_read "/dev/$DISK" $((SECTOR * 512 / PAGE))
check "and written" \
	make_xfs "/dev/$DISK"
finish
