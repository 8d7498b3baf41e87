#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two programs attach and detach at the same time, as programs of udev do.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

TURNS=40

# attach_and_detach VOLUME -- attach and detach the volume repeatedly.
attach_and_detach() {
	local i DM

	dm_name "$1"
	for ((i = 0; i < TURNS; i++)); do
		daxmf stack attach "/dev/mapper/$1" && is cat "$STACK/$A/$DM/state" attached &&
			daxmf stack detach "/dev/mapper/$1" || return
	done
}

# One program detaches its volume, the last volume that it finds above the disk, and removes the
# folder of the disk. At the same time the other program attaches its volume to this disk.
at_the_same_time() {
	map one <<<"$(linear 0 100 "$A" 16)" && map two <<<"$(linear 0 100 "$A" 200)" &&
		on_exit daxmf stack detach --all && in_parallel attach_and_detach one two
}

begin 1
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "two programs attach and detach volumes on one disk" \
	with_undo at_the_same_time
finish
