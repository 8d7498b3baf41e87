#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Found errors: the driver notifies the holder of each error once, if the policy allows it.
# Otherwise the driver counts the error as unnotified.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# bad_sectors FIRST COUNT -- add these sectors to the bad blocks, as root.
bad_sectors() {
	echo "$@" >"/sys/block/$DISK/badblocks"
}

# bad PAGE [COUNT] -- add these pages to the bad blocks.
bad() {
	bad_sectors $(($1 * 8)) $((${2:-1} * 8))
}

# is_notified PAGE [COUNT] -- check that the holder gets one more notification, of these pages.
is_notified() {
	local want

	want=$(printf 'offset 0x%x length 0x%x flags 0x0' $(($1 * PAGE)) $((${2:-1} * PAGE)))
	NOTIFIED=$((NOTIFIED + 1))
	wait_for is notified $NOTIFIED && log_since "$MARK" |
		sed -n 's/^rust_dax_holder: memory failure at //p' | tail -n +$NOTIFIED >"$TMP/notified"
	is cat "$TMP/notified" "$want" && wait_for is counters "$DISK" "$NOTIFIED $NOTIFIED 0 0"
}

written_to_sysfs() {
	bad 10 && is_notified 10 && bad 21 3 && is_notified 21 3 && bad_range "$DISK" $((10 * PAGE)) $PAGE
}

nonsense() {
	local text

	for text in "8 0" "8 -1" "8" "8 8 8" "-8 8" "eight 8" "18446744073709551615 8"; do
		fails_with "Invalid argument" bad_sectors "$text" || return
	done
}

# Only the pages that were good cause a notification. The next notification, of page 30, shows that
# the known pages caused none.
known_is_ignored() {
	bad 10 && bad 20 3 && is_notified 20 && bad 30 && is_notified 30
}

# A page that fails in several sectors causes one notification.
sectors() {
	bad_sectors 321 1 && is_notified 40 && bad_sectors 325 1 && bad 41 && is_notified 41
}

fails_again() {
	write_page "/dev/$DISK" 10 oflag=direct && bad 10 && is_notified 10
}

# A process consumed page 50 first, and the holder was notified then.
consumed_before() {
	raise_machine_check $((START + 50 * PAGE)) && NOTIFIED=$((NOTIFIED + 1)) && bad 50 && bad 51 && is_notified 51
}

cannot_be_read() {
	modprobe daxmf_nospec address=$((START + 60 * PAGE)) &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 60 && is_notified 60 &&
		write_page "/dev/$DISK" 60 oflag=direct && rmmod daxmf_nospec
}

# record STATUS ADDRESS -- inject the record of a machine check in a read of a cache line, such as a
# read of a DAX file. The kernel does not call memory_failure() for such a record.
record() {
	local file dir=/sys/kernel/debug/mce-inject

	for file in flags=sw misc=0x86 "status=$1" "addr=$(printf %#x "$2")" bank=0; do
		echo "${file#*=}" >"$dir/${file%%=*}" || return
	done
}

# The driver ignores the record of a corrected error. For the record of an uncorrected error it
# lists the sector, as nfit does for the memory of NVDIMMs.
recorded() {
	modprobe mce-inject && on_exit rmmod mce_inject &&
		record 0x9c0000000000009f $((START + 70 * PAGE)) &&
		record 0xbc0000000000009f $((START + 71 * PAGE + 600)) && is_notified 71 &&
		grep -qx "$((71 * 8 + 1)) 1" "/sys/block/$DISK/badblocks" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 71 && dax_read "/dev/$DISK" 70
}

# policy WORD -- set which holders are notified of found errors.
policy() {
	echo "$1" >"/sys/block/$DISK/memory_failure/found"
}

unnotified() {
	cat "/sys/block/$DISK/memory_failure/found_unnotified"
}

never_notified() {
	is cat "/sys/block/$DISK/memory_failure/found" "[auto] always never" && policy never &&
		is unnotified 0 && bad 80 2 && wait_for is unnotified 2 && is notified $NOTIFIED &&
		is counters "$DISK" "$NOTIFIED $NOTIFIED 0 0" && policy auto &&
		fails_with "Invalid argument" policy sometimes
}

without_holder() {
	release && bad 90 && wait_for is unnotified 3 && policy always && bad 91 &&
		wait_for is unnotified 4 && is counters "$DISK" "$NOTIFIED $NOTIFIED 0 0"
}

# With the policy "auto" the driver does not notify XFS, because XFS is a holder in C.
xfs_is_notified() {
	clear_bad_blocks "$DISK" && make_xfs "/dev/$DISK" && policy auto && mount_dax "/dev/$DISK" &&
		fill $MNT/file 16 || return
	bad $(($(file_sector $MNT/file 2) / 8)) && wait_for is unnotified 5 && policy always &&
		bad $(($(file_sector $MNT/file 3) / 8)) &&
		wait_for is counters "$DISK" "$((NOTIFIED + 1)) $((NOTIFIED + 1)) 0 0" && is unnotified 5
}

# The holder is notified of the removal after its callbacks for found errors have returned.
removed_meanwhile() {
	local order found="flags 0x0 memory failure handled"

	unmount && hold "$DISK" delay_ms=500 && log_mark removed && bad 5000 &&
		wait_for log_says "rust_dax_holder: memory failure at .* flags 0x0" removed &&
		bad 5001 && ns_unbind "$NS" && release || return
	order=$(log_since removed |
		sed -nE 's/^rust_dax_holder: .*(flags .*|memory failure handled)$/\1/p' | paste -sd' ')
	echo "$order"
	[[ $order =~ ^("$found ")+flags\ 0x[1-9a-f][0-9a-f]*\ memory\ failure\ handled$ ]]
}

# find_errors -- add bad blocks until the file stop exists, whether the disk exists or not.
find_errors() {
	until [ -e "$TMP/stop" ]; do
		bad $((RANDOM % 1000))
	done 2>/dev/null
}

any_notified() {
	[ "$(notified)" -gt 0 ]
}

comes_and_goes() {
	local round=0

	find_errors &
	while [ $round -lt 3 ] && ns_bind "$NS" && hold "$DISK" && wait_for any_notified &&
		ns_unbind "$NS" && release; do
		round=$((round + 1))
	done
	touch "$TMP/stop"
	wait
	[ $round = 3 ]
}

begin 14
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disk "$KIND"
require make_page_data
MARK=$LOG_MARK
NOTIFIED=0
require hold "$DISK"
check "a write to badblocks notifies the holder" written_to_sysfs
check "an invalid range is refused" nonsense
check "known pages cause no notification" known_is_ignored
check "the holder is notified of the page of a bad sector" sectors
check "a repaired page fails again" fails_again
check "a page that a process consumed causes no notification" consumed_before
check "a failed read by a bio notifies the holder" cannot_be_read
check "the record of a machine check" recorded
check "policy never" never_notified
check "no holder" without_holder
check "XFS is notified with policy always" xfs_is_notified
check "the device is removed during notifications" removed_meanwhile
check "the driver is bound and unbound while errors are found" comes_and_goes
require_disk virtio
NOTIFIED=0
MARK="$LOG_MARK virtio"
log_mark "$MARK"
require hold "$DISK"
check "the record of a machine check on virtio memory" recorded
finish
