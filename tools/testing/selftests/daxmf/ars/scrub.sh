#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Drivers come and go, memory is written, and the bus goes while a scrub is under way.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SECTOR=800
BAD=$((SECTOR * 512 / PAGE))
PAGES=8

write_pages() { # first, count
	dd if=/dev/zero of="/dev/$DISK" bs=$PAGE seek="$1" count="$2" oflag=direct conv=notrunc status=none
}

# bind -- sets DISK.
bind() {
	ns_bind "$NS" "$DRIVER" && DISK=$(ns_disk "$NS")
}

bound_meanwhile() {
	ns_unbind "$NS" && inject $SECTOR 8 --no-notify && scrub_starts && bind && scrub_ends &&
		is bad_blocks "$SECTOR 8"
}

# The end of a scrub meets the driver at any moment of its life.
bound_often() {
	local round

	for ((round = 0; round < 5; round++)); do
		scrubs || scrub_starts || return
		ns_unbind "$NS" && bind && dax_read "/dev/$DISK" $((BAD + 1)) || return
	done
	scrub_ends && is bad_blocks "$SECTOR 8" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" $BAD
}

# Half of what is bad is written all the time: it is good when the scrub has ended, the other half
# is not.
written_meanwhile() {
	local half=$((PAGES / 2))

	inject $((SECTOR + 8)) $((PAGES * 8 - 8)) --no-notify && scrub_starts || return
	while scrubs; do
		write_pages $BAD $half || return
	done
	write_pages $BAD $half && dax_read "/dev/$DISK" $((BAD + half - 1)) &&
		is bad_blocks "$((SECTOR + half * 8)) $((half * 8))" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" $((BAD + half))
}

read_disk() {
	while dax_read "/dev/$DISK" 0; do :; done 2>/dev/null
}

# The reader has ended, too.
disk_is_gone() {
	wait && [ ! -e "/dev/$DISK" ]
}

# The firmware remembers, and the first scrub of the new bus finds it.
bus_goes() {
	scrub_starts || return
	read_disk &
	rebind_nfit disk_is_gone || return
	NS=$(ns_find nvdimm) && BUS=$(readlink -f "$ND/devices/$NS/../..") && bind && scrub_ends &&
		is bad_blocks "$((SECTOR + PAGES * 4)) $((PAGES * 4))"
}

mend_all() {
	write_pages $BAD $PAGES && is bad_blocks "" && is injected ""
}

begin 10
require_scrubs
for DRIVER in nd_pmem daxmf_pmem; do
	check "$DRIVER: bound while a scrub is under way" bound_meanwhile
	check "$DRIVER: bound and unbound all the time" bound_often
	check "$DRIVER: bad memory is written meanwhile" written_meanwhile
	if [ "${KERNEL:-stock}" = stock ]; then
		check "$DRIVER: the bus goes" bus_goes
	else
		# shutdown_dimm_notify() of stock nfit waits for ACPI's notifications with the mutex
		# held that these take, which lockdep reports.
		ktap_test_skip "$DRIVER: the bus goes: a lockdep report of stock nfit"
	fi
	check "$DRIVER: a write mends what is left" mend_all
done
finish
