#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The list of bad blocks is full, and pages go on failing: they are as bad as those in the list.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

FIRST=2000
LISTED=512

# fill_list -- with single sectors, each in another page. Their numbers are short, for the file in
# sysfs has room for a page of text.
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

# A page fails that nobody has mapped, and one that somebody has.
is_bad() {
	machine_check "$(address file 5)" && log_says "daxmf_pmem $NS: badblocks is full" &&
		! file_page_bad file 5 && cannot_read file 5 && cannot_touch file 5 &&
		dax_read file 4 && dax_read file 6 &&
		told mce file,offset=28K && cannot_read file 7 && cannot_touch file 7
}

late_reader_is_told() {
	fails_with "Input/output error" dd if=file of=/dev/null bs=64k iflag=direct status=none &&
		cannot_touch file 5
}

# disk_page FILE PAGE -- its number on the disk.
disk_page() {
	echo $(($(file_sector "$1" "$2") * 512 / PAGE))
}

write_disk() { # block size, block
	dd if="$TMP/page" of="/dev/$DISK" bs="$1" seek="$2" count=1 oflag=direct conv=notrunc status=none
}

# As a filesystem writes its log and its metadata, past DAX.
part_of_page() {
	fails_with "Input/output error" write_disk 512 $(($(disk_page file 5) * 8)) && cannot_read file 5
}

whole_page() {
	write_disk $PAGE "$(disk_page file 5)" && has_page file 5 && is_touched file 5 &&
		cannot_read file 7
}

through_file() {
	write_page file 7 && has_page file 7 && is_touched file 7
}

# Room in the list is taken by what found none.
is_shown_later() {
	machine_check "$(address file 9)" && ! file_page_bad file 9 || return
	write_disk 512 $FIRST && file_page_bad file 9 && is listed $LISTED && cannot_read file 9
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
require page_data
require xfs_on "$NS"
START=$(($(ns_get "$NS" resource)))
cd $MNT || exit
on_exit cd /
require fill file 16
check "the list is filled" fill_list
check "a page that fails is bad nevertheless" is_bad
check "whoever comes later is told, too" late_reader_is_told
check "a part of it cannot be written" part_of_page
check "the disk mends it when all of it is written" whole_page
check "so does a file" through_file
check "what found no room is shown when there is room" is_shown_later
check "the filesystem lives" fill another 16
finish
