#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A simulated failure signals owners as a real one does, and leaves the memory good: the same page
# can fail again, and no data is lost.

KIND=${KIND:-memmap}
SIMULATED=tell
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The page fails twice, each time mapped by another process. The second process finds a good page.
one_page_twice() {
	fill one 16 && owners_signalled "$1" one,offset=8K && owners_signalled "$1" one,offset=8K && is_whole one
}

two_pages() {
	fill two 16 && owners_signalled "$1" two,offset=8K && owners_signalled "$1" two,offset=12K &&
		owners_signalled "$1" two,offset=8K && is_whole two
}

reflinked() {
	fill shared 16 && share shared clone &&
		owners_signalled "$1" shared,offset=8K clone,offset=8K &&
		owners_signalled "$1" clone,offset=8K shared,offset=8K && is_whole shared && is_whole clone
}

# The second half is shared, the first is not.
partly_reflinked() {
	fill part 16 && fill other 16 && share part other 32K 32K 32K &&
		owners_signalled "$1" part,offset=8K other,offset=8K,quiet &&
		owners_signalled "$1" part,offset=40K other,offset=40K &&
		owners_signalled "$1" other,offset=40K part,offset=40K && is_whole part && is_whole other
}

# is_whole FILE -- check that read(2) returns the data of every page, and that a mapping can read
# page 2.
is_whole() {
	same_except "$1" -1 && can_touch "$1" 2
}

filesystem_is_whole() {
	cd / && unmount && xfs_repair -n "/dev/$DISK"
}

nothing_is_listed() {
	is cat "/sys/block/$DISK/badblocks" ''
}

# The policy "list" adds the page to the bad blocks, as for a real failure.
can_be_listed() {
	mount_dax "/dev/$DISK" && is simulated_attribute "[tell] list" && set_simulated "$NS" list &&
		is simulated_attribute "tell [list]" && fill $MNT/listed 16 &&
		owners_signalled madvise $MNT/listed,offset=8K && file_page_bad $MNT/listed 2 &&
		fails_with "Input/output error" dax_read $MNT/listed 2
}

simulated_attribute() {
	cat "/sys/block/$DISK/memory_failure/simulated"
}

bad_word() {
	fails_with "Invalid argument" \
		bash -c "echo listen >/sys/block/$DISK/memory_failure/simulated" &&
		is simulated_attribute "tell [list]"
}

begin 13
require_ns "$KIND"
require xfs_on "$NS"
cd $MNT || exit
on_exit cd /
BEFORE=$(has_counters "$DISK" && counters "$DISK")
for source in madvise corrupt-pfn; do
	check "$source: the same page twice" one_page_twice $source
	check "$source: two pages" two_pages $source
	check "$source: reflinked pages" reflinked $source
	check "$source: partly reflinked pages" partly_reflinked $source
done
check_ours "each failure is counted" counters_moved "$DISK" "$BEFORE" 20 0 0
check "no page is listed as bad" nothing_is_listed
check "the filesystem has no damage" filesystem_is_whole
check_ours "with list, a failure is listed as bad" can_be_listed
check_ours "other policies are refused" bad_word
finish
