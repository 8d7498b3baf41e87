#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Errors that were found, and that no process has hit: whoever finds them, the holder that wants to
# know is notified, once, and all others are counted.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# bad_sectors FIRST COUNT -- root says so.
bad_sectors() {
	echo "$@" >"/sys/block/$DISK/badblocks"
}

# bad PAGE [COUNT]
bad() {
	bad_sectors $(($1 * 8)) $((${2:-1} * 8))
}

# is_told PAGES PAGE [COUNT] -- and of nothing else since the last one.
is_told() {
	local want

	want=$(printf 'offset 0x%x length 0x%x flags 0x0' $(($1 * PAGE)) $((${2:-1} * PAGE)))
	TOLD=$((TOLD + 1))
	wait_for is notified $TOLD && log_since "$MARK" |
		sed -n 's/^rust_dax_holder: memory failure at //p' | tail -n +$TOLD >"$TMP/told"
	is cat "$TMP/told" "$want" && wait_for is counters "$DISK" "$TOLD $TOLD 0 0"
}

written_to_sysfs() {
	bad 10 && is_told 10 && bad 21 3 && is_told 21 3 && bad_range "$DISK" $((10 * PAGE)) $PAGE
}

nonsense() {
	local text

	for text in "8 0" "8 -1" "8" "8 8 8" "-8 8" "eight 8" "18446744073709551615 8"; do
		fails_with "Invalid argument" bad_sectors "$text" || return
	done
}

# The good pages among them; what comes behind them tells that nothing else does.
known_is_no_news() {
	bad 10 && bad 20 3 && is_told 20 && bad 30 && is_told 30
}

# A page that fails in parts is bad once.
sectors() {
	bad_sectors 321 1 && is_told 40 && bad_sectors 325 1 && bad 41 && is_told 41
}

fails_anew() {
	write_page "/dev/$DISK" 10 oflag=direct && bad 10 && is_told 10
}

# A process has hit it, and the holder knows.
hit_before() {
	machine_check $((START + 50 * PAGE)) && TOLD=$((TOLD + 1)) && bad 50 && bad 51 && is_told 51
}

cannot_be_read() {
	modprobe daxmf_nospec address=$((START + 60 * PAGE)) &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 60 && is_told 60 &&
		write_page "/dev/$DISK" 60 oflag=direct && rmmod daxmf_nospec
}

# record STATUS ADDRESS -- of a machine check in a read of a cache line, as of a DAX file: nobody
# calls memory_failure() for it.
record() {
	local file dir=/sys/kernel/debug/mce-inject

	for file in flags=sw misc=0x86 "status=$1" "addr=$(printf %#x "$2")" bank=0; do
		echo "${file#*=}" >"$dir/${file%%=*}" || return
	done
}

# A corrected one is none. The kernel lists the sector, as nfit does for its memory.
recorded() {
	modprobe mce-inject && on_exit rmmod mce_inject &&
		record 0x9c0000000000009f $((START + 70 * PAGE)) &&
		record 0xbc0000000000009f $((START + 71 * PAGE + 600)) && is_told 71 &&
		grep -qx "$((71 * 8 + 1)) 1" "/sys/block/$DISK/badblocks" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" 71 && dax_read "/dev/$DISK" 70
}

# policy WORD
policy() {
	echo "$1" >"/sys/block/$DISK/memory_failure/found"
}

unnotified() {
	cat "/sys/block/$DISK/memory_failure/found_unnotified"
}

nobody_is_told() {
	is cat "/sys/block/$DISK/memory_failure/found" "[auto] always never" && policy never &&
		is unnotified 0 && bad 80 2 && wait_for is unnotified 2 && is notified $TOLD &&
		is counters "$DISK" "$TOLD $TOLD 0 0" && policy auto &&
		fails_with "Invalid argument" policy sometimes
}

without_holder() {
	release && bad 90 && wait_for is unnotified 3 && policy always && bad 91 &&
		wait_for is unnotified 4 && is counters "$DISK" "$TOLD $TOLD 0 0"
}

# XFS is a filesystem in C.
told_to_xfs() {
	mend "$DISK" && make_xfs "/dev/$DISK" && policy auto && mount_dax "/dev/$DISK" &&
		fill $MNT/file 16 || return
	bad $(($(file_sector $MNT/file 2) / 8)) && wait_for is unnotified 5 && policy always &&
		bad $(($(file_sector $MNT/file 3) / 8)) &&
		wait_for is counters "$DISK" "$((TOLD + 1)) $((TOLD + 1)) 0 0" && is unnotified 5
}

# The holder is told of the removal when it is done with what was found.
removed_meanwhile() {
	local order found="flags 0x0 dealt with"

	unmount && hold "$DISK" delay_ms=500 && log_mark removed && bad 5000 &&
		wait_for log_says "rust_dax_holder: memory failure at .* flags 0x0" removed &&
		bad 5001 && ns_unbind "$NS" && release || return
	order=$(log_since removed |
		sed -nE 's/^rust_dax_holder: .*(flags .*|dealt with)$/\1/p' | paste -sd' ')
	echo "$order"
	[[ $order =~ ^("$found ")+flags\ 0x[1-9a-f][0-9a-f]*\ dealt\ with$ ]]
}

# find_errors -- until told to stop, whether there is a disk or not.
find_errors() {
	until [ -e "$TMP/stop" ]; do
		bad $((RANDOM % 1000))
	done 2>/dev/null
}

is_told_something() {
	[ "$(notified)" -gt 0 ]
}

comes_and_goes() {
	local round=0

	find_errors &
	while [ $round -lt 3 ] && ns_bind "$NS" && hold "$DISK" && wait_for is_told_something &&
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
require page_data
MARK=$LOG_MARK
TOLD=0
require hold "$DISK"
check "what is written to badblocks" written_to_sysfs
check "what is no range is refused" nonsense
check "the same once more is no news" known_is_no_news
check "sectors of a page are a page" sectors
check "a page that was written and fails anew" fails_anew
check "a page that a process has hit is no news" hit_before
check "a page that a bio cannot read" cannot_be_read
check "the record of a machine check" recorded
check "nobody is notified by choice" nobody_is_told
check "nobody is there" without_holder
check "XFS is notified by choice" told_to_xfs
check "the device is removed meanwhile" removed_meanwhile
check "the driver comes and goes" comes_and_goes
require_disk virtio
TOLD=0
MARK="$LOG_MARK virtio"
log_mark "$MARK"
require hold "$DISK"
check "the record of a machine check on another kind of memory" recorded
finish
