#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory cannot be read, and is not listed as bad: the read fails, and the kernel does not crash.
# daxmf_pmem lists the page as bad then.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

PAGE_NUMBER=1000

# unreadable -- make the page unreadable until the module is unloaded.
unreadable() {
	modprobe daxmf_nospec address=$((START + PAGE_NUMBER * PAGE))
}

# A larger read that includes the page fails and returns no data.
read_fails() {
	unreadable && fails_with "Input/output error" dax_read "/dev/$DISK" $PAGE_NUMBER &&
		fails_with "Input/output error" dd if="/dev/$DISK" of=/dev/null bs=64k \
			skip=$((PAGE_NUMBER / 16)) count=1 iflag=direct status=none
}

others_are_read() {
	dax_read "/dev/$DISK" $((PAGE_NUMBER - 1)) && dax_read "/dev/$DISK" $((PAGE_NUMBER + 1))
}

can_be_read_again() {
	rmmod daxmf_nospec && dax_read "/dev/$DISK" $PAGE_NUMBER
}

# One read lists the page and logs one line. Later reads do not reach the memory.
is_listed() {
	local said

	is bad_blocks "$((PAGE_NUMBER * 8)) 8" || return
	said=$(log_since | grep -c "daxmf_pmem $NS: read failed at offset")
	[ "$said" = 1 ] || fail "the log has $said lines for the page"
}

write_repairs() {
	write_page "/dev/$DISK" $PAGE_NUMBER oflag=direct && is bad_blocks "" &&
		has_page "/dev/$DISK" $PAGE_NUMBER iflag=direct && rmmod daxmf_nospec &&
		has_page "/dev/$DISK" $PAGE_NUMBER iflag=direct
}

begin 7
require_ns "$KIND"
require make_page_data
START=$(($(ns_get "$NS" resource)))
for DRIVER in nd_pmem daxmf_pmem; do
	require ns_bind "$NS" $DRIVER
	DISK=$(ns_disk "$NS")
	check "$DRIVER: a read fails" read_fails
	check "$DRIVER: reads of the pages beside it succeed" others_are_read
	case $DRIVER in
	nd_pmem) check "$DRIVER: a read succeeds when the memory is readable" can_be_read_again ;;
	daxmf_pmem)
		check "$DRIVER: it is listed as bad" is_listed
		check "$DRIVER: a write repairs it" write_repairs
		;;
	esac
done
finish
