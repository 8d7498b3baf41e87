#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A scrub finds more than the list of bad blocks has room for: what is not listed is as bad.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# One sector in every other page. The numbers are short, for the file in sysfs has room for a page of
# text.
COUNT=600
STRIDE=$((2 * PAGE))
LISTED=512

found() {
	in_firmware 7 0 "$START" 256 $COUNT $STRIDE && scrub_starts && scrub_ends && is listed $LISTED
}

listed() {
	wc -l <"/sys/block/$DISK/badblocks"
}

is_bad() {
	fails_with "Input/output error" dax_read "/dev/$DISK" "$1" && dax_read "/dev/$DISK" $(($1 + 1))
}

all_are_bad() {
	local i

	for i in 0 1 $((LISTED - 1)) $LISTED $((LISTED + 1)) $((COUNT - 1)); do
		is_bad $((i * 2)) || return
	done
}

# As many again, of which all are known already.
again() {
	scrub_starts && scrub_ends && is listed $LISTED && all_are_bad
}

rebound() {
	ns_unbind "$NS" && ns_bind "$NS" && is listed $LISTED && all_are_bad
}

write_pages() { # first, count
	dd if=/dev/zero of="/dev/$DISK" bs=$PAGE seek="$1" count="$2" oflag=direct conv=notrunc status=none
}

# One that is listed makes room for one that is not.
one_is_mended() {
	write_pages 0 1 && dax_read "/dev/$DISK" 0 && is listed $LISTED && all_but_first
}

all_but_first() {
	is_bad 2 && is_bad $(((COUNT - 1) * 2))
}

all_are_mended() {
	write_pages 0 $((COUNT * 2)) && is listed 0 && is injected "" &&
		dd if="/dev/$DISK" of=/dev/null bs=1M count=$((COUNT * STRIDE >> 20)) iflag=direct status=none
}

begin 6
require_scrubs
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
START=$(($(ns_get "$NS" resource)))
check "a scrub finds $COUNT errors, and $LISTED are listed" found
check "all are bad" all_are_bad
check "another scrub finds the same" again
check "so does the driver when it is bound anew" rebound
check "a write mends one of them" one_is_mended
check "a write mends all" all_are_mended
finish
