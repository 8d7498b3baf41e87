#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The list of bad blocks is full, and more pages fail. Reads of these pages fail, too.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

FIRST=2000
LISTED=512

# fill_list -- fill the list with single sectors, each in its own page. FIRST is low, so that all
# lines fit into the sysfs file, which holds one page of text.
fill_list() {
	local i

	for ((i = 0; i < LISTED; i++)); do
		echo $((FIRST + i * 16)) 1 >"/sys/block/$DISK/badblocks" || return
	done
	is listed $LISTED
}

listed() {
	wc -l <"/sys/block/$DISK/badblocks"
}

# An unmapped page fails, then a mapped page.
is_bad() {
	raise_machine_check "$(address file 5)" && log_says "daxmf_pmem $NS: badblocks is full" &&
		! file_page_bad file 5 && cannot_read file 5 && cannot_touch file 5 &&
		dax_read file 4 && dax_read file 6 &&
		owners_signalled mce file,offset=28K && cannot_read file 7 && cannot_touch file 7
}

later_access_fails() {
	fails_with "Input/output error" dd if=file of=/dev/null bs=64k iflag=direct status=none &&
		cannot_touch file 5
}

# disk_page FILE PAGE -- print the number of the page on the disk.
disk_page() {
	echo $(($(file_sector "$1" "$2") * 512 / PAGE))
}

write_disk() { # block size, block
	dd if="$TMP/page" of="/dev/$DISK" bs="$1" seek="$2" count=1 oflag=direct conv=notrunc status=none
}

# Write by a bio, as a filesystem writes its log and its metadata.
part_of_page() {
	fails_with "Input/output error" write_disk 512 $(($(disk_page file 5) * 8)) && cannot_read file 5
}

whole_page() {
	write_disk $PAGE "$(disk_page file 5)" && has_page file 5 && can_touch file 5 &&
		cannot_read file 7
}

through_file() {
	write_page file 7 && has_page file 7 && can_touch file 7
}

# When an entry of the list becomes free, a bad page that is not listed gets it.
is_listed_later() {
	raise_machine_check "$(address file 9)" && ! file_page_bad file 9 || return
	write_disk 512 $FIRST && file_page_bad file 9 && is listed $LISTED && cannot_read file 9
}

# All lines fit into the sysfs file, but the list can lack bad blocks.
status_says_so() {
	daxmf status --json >"$TMP/json" && python3 - "$TMP/json" "$DISK" <<-END
		import json, sys
		status = json.load(open(sys.argv[1]))
		bad = [disk["bad"] for disk in status["devices"] if disk["device"] == sys.argv[2]]
		assert [b["is_all"] for b in bad] == [False], bad
	END
}

begin 9
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
require make_page_data
require xfs_on "$NS"
START=$(($(ns_get "$NS" resource)))
cd $MNT || exit
on_exit cd /
require fill file 16
check "the list is filled" fill_list
check "daxmf status shows that the list is full" status_says_so
check "a page that is not listed is bad" is_bad
check "later accesses fail, too" later_access_fails
check "a write of a part of an unlisted bad page fails" part_of_page
check "a write of the whole page to the disk repairs it" whole_page
check "a write of the whole page to a file repairs it" through_file
check "a page is listed when there is room" is_listed_later
check "the filesystem still works" fill another 16
finish
