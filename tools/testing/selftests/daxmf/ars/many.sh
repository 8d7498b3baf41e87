#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A scrub finds more errors than fit into the list of bad blocks. Reads of unlisted errors fail,
# too.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The errors are one sector in every other page. The sector numbers are low, so that all lines fit
# into the sysfs file, which holds one page of text.
COUNT=600
STRIDE=$((2 * PAGE))
LISTED=512

found() {
	call_firmware 7 0 "$START" 256 $COUNT $STRIDE && start_scrub && wait_scrub && is listed $LISTED
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

# Another scrub finds the same errors.
again() {
	start_scrub && wait_scrub && is listed $LISTED && all_are_bad
}

rebound() {
	ns_unbind "$NS" && ns_bind "$NS" && is listed $LISTED && all_are_bad
}

write_pages() { # first, count
	dd if=/dev/zero of="/dev/$DISK" bs=$PAGE seek="$1" count="$2" oflag=direct conv=notrunc status=none
}

# The repair of a listed error makes room for an unlisted one.
one_is_repaired() {
	write_pages 0 1 && dax_read "/dev/$DISK" 0 && is listed $LISTED && all_but_first
}

all_but_first() {
	is_bad 2 && is_bad $(((COUNT - 1) * 2))
}

all_are_repaired() {
	write_pages 0 $((COUNT * 2)) && is listed 0 && is firmware_errors "" &&
		dd if="/dev/$DISK" of=/dev/null bs=1M count=$((COUNT * STRIDE >> 20)) iflag=direct status=none
}

begin 6
require_scrubs
require ns_bind "$NS"
DISK=$(ns_disk "$NS")
START=$(($(ns_get "$NS" resource)))
check "a scrub finds $COUNT errors, of which $LISTED are listed" found
check "all are bad" all_are_bad
check "another scrub finds the same" again
check "the driver finds the same when it is bound again" rebound
check "a write repairs one of them" one_is_repaired
check "a write repairs all" all_are_repaired
finish
