#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A failed frame is usable again, without a record of the failure, when its namespace is bound
# again.
#
# The machine check removes the frame from the kernel's linear map. Hot-unplug and hot-plug of the
# memory do not put the frame back into the linear map.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

begin 3
require_ns "$KIND"
require xfs_on "$NS"
require fill $MNT/file 16
check "a machine check" \
	owners_signalled mce $MNT/file,offset=8K
SECTOR=$(file_sector $MNT/file 2)
require unmount
require ns_unbind "$NS"
require ns_bind "$NS"
# The read comes first: a read of an unmapped frame fails, and a write would crash the kernel.
check "the page can be read" \
	dax_read "/dev/$DISK" $((SECTOR * 512 / PAGE))
require dax_read "/dev/$DISK" $((SECTOR * 512 / PAGE))
check "the page can be written" \
	make_xfs "/dev/$DISK"
finish
