#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Several programs attach and detach at the same time, as udev does with devices that come and go.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

TURNS=40

# attach_and_detach VOLUME -- in turn; each time, it is attached.
attach_and_detach() {
	local i DM

	dm_name "$1"
	for ((i = 0; i < TURNS; i++)); do
		daxmf stack attach "/dev/mapper/$1" && is cat "$STACK/$A/$DM/state" attached &&
			daxmf stack detach "/dev/mapper/$1" || return
	done
}

# What is the last one above a disk for one program is not for the other.
at_the_same_time() {
	map one <<<"$(linear 0 100 "$A" 16)" && map two <<<"$(linear 0 100 "$A" 200)" &&
		on_exit daxmf stack detach --all && each attach_and_detach one two
}

begin 1
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require modprobe daxmf_stack

check "two programs attach and detach volumes on one disk" \
	clean at_the_same_time
finish
