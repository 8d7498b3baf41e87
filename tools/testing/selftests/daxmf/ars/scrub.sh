#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# While a scrub is under way, drivers are bound and unbound, memory is written, and the bus is
# unbound.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SECTOR=800
BAD=$((SECTOR * 512 / PAGE))
PAGES=8

write_pages() { # first, count
	dd if=/dev/zero of="/dev/$DISK" bs=$PAGE seek="$1" count="$2" oflag=direct conv=notrunc status=none
}

# bind -- bind DRIVER to NS; sets DISK.
bind() {
	ns_bind "$NS" "$DRIVER" && DISK=$(ns_disk "$NS")
}

bound_meanwhile() {
	ns_unbind "$NS" && inject $SECTOR 8 --no-notify && start_scrub && bind && wait_scrub &&
		is bad_blocks "$SECTOR 8"
}

# The scrub ends at any time during bind or unbind.
bound_often() {
	local round

	for ((round = 0; round < 5; round++)); do
		scrub_runs || start_scrub || return
		ns_unbind "$NS" && bind && dax_read "/dev/$DISK" $((BAD + 1)) || return
	done
	wait_scrub && is bad_blocks "$SECTOR 8" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" $BAD
}

# The first half of the bad range is written during the scrub. This half is good afterwards, and the
# other half is still bad.
written_meanwhile() {
	local half=$((PAGES / 2))

	inject $((SECTOR + 8)) $((PAGES * 8 - 8)) --no-notify && start_scrub || return
	while scrub_runs; do
		write_pages $BAD $half || return
	done
	write_pages $BAD $half && dax_read "/dev/$DISK" $((BAD + half - 1)) &&
		is bad_blocks "$((SECTOR + half * 8)) $((half * 8))" &&
		fails_with "Input/output error" dax_read "/dev/$DISK" $((BAD + half))
}

read_disk() {
	while dax_read "/dev/$DISK" 0; do :; done 2>/dev/null
}

# The reader and the disk are gone.
disk_is_gone() {
	wait && [ ! -e "/dev/$DISK" ]
}

# The firmware keeps the errors, and the first scrub of the new bus finds them.
bus_is_unbound() {
	start_scrub || return
	read_disk &
	rebind_nfit disk_is_gone || return
	NS=$(ns_find nvdimm) && BUS=$(readlink -f "$ND/devices/$NS/../..") && bind && wait_scrub &&
		is bad_blocks "$((SECTOR + PAGES * 4)) $((PAGES * 4))"
}

repair_all() {
	write_pages $BAD $PAGES && is bad_blocks "" && is firmware_errors ""
}

begin 10
require_scrubs
for DRIVER in nd_pmem daxmf_pmem; do
	check "$DRIVER: bound while a scrub is under way" bound_meanwhile
	check "$DRIVER: bound and unbound repeatedly" bound_often
	check "$DRIVER: bad memory is written during a scrub" written_meanwhile
	if [ "${KERNEL:-stock}" = stock ]; then
		check "$DRIVER: the bus is unbound" bus_is_unbound
	else
		# Lockdep reports shutdown_dimm_notify() of stock nfit: it waits for ACPI
		# notifications while it holds the mutex that they take.
		ktap_test_skip "$DRIVER: the bus is unbound: a lockdep report of stock nfit"
	fi
	check "$DRIVER: a write repairs the rest" repair_all
done
finish
