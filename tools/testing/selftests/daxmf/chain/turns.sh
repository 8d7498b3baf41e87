#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# nd_pmem and daxmf_pmem drive one namespace in turn, and each reads the data of the other.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

ROUNDS=4

# turn DRIVER FILE -- with this driver, check all earlier files, and add a file.
turn() {
	ns_bind "$NS" "$1" && mount_dax "/dev/$(ns_disk "$NS")" || return
	(cd $MNT && [ ! -s sums ] || sha256sum --quiet -c sums) || return
	fill "$MNT/$2" 64 && (cd $MNT && sha256sum "$2" >>sums) && sync && unmount
}

take_turns() {
	local i

	for ((i = 0; i < ROUNDS; i += 2)); do
		turn nd_pmem "file.$i" && turn daxmf_pmem "file.$((i + 1))" || return
	done
}

# The raw disk is the same with both drivers.
same_disk() {
	local ns

	ns=$(ns_find nvdimm) || return
	for driver in daxmf_pmem nd_pmem; do
		ns_bind "$ns" $driver || return
		disk=$(ns_disk "$ns")
		if [ $driver = daxmf_pmem ]; then
			fill "/dev/$disk" 1024
		fi
		echo "$disk $(blockdev --getsize64 --getss --getpbsz "/dev/$disk" | paste -sd' ')" \
			"$(head -c 8M "/dev/$disk" | sha256sum)" >"$TMP/$driver"
	done
	cmp "$TMP/daxmf_pmem" "$TMP/nd_pmem"
}

begin 2
require_ns "$KIND"
require xfs_on "$NS"
touch $MNT/sums
require unmount

check "each driver reads the other's filesystem" \
	take_turns
check "each driver reads the other's raw disk" \
	same_disk
finish
