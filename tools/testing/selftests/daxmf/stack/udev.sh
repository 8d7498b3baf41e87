#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The udev rule attaches volumes.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

install_rule() {
	mkdir -p /run/udev/rules.d && ln -sf "$(command -v daxmf)" /usr/sbin/daxmf &&
		cp /daxmf/tools/daxmf/60-daxmf-stack.rules /run/udev/rules.d && udevadm control --reload &&
		on_exit remove_rule
}

remove_rule() {
	rm -f /run/udev/rules.d/60-daxmf-stack.rules && udevadm control --reload
}

attached() {
	[ -d "$STACK/$A/$DM" ]
}

detached() {
	[ ! -d "$STACK/$A" ]
}

made_before() {
	map one <<<"$(linear 0 400 "$A" 16)" && modprobe daxmf_stack && wait_for attached &&
		dm_owners_signalled corrupt-pfn
}

made_after() {
	modprobe daxmf_stack && map one <<<"$(linear 0 400 "$A" 16)" && wait_for attached &&
		dm_owners_signalled corrupt-pfn
}

removed() {
	modprobe daxmf_stack && dmsetup create one --table "$(linear 0 400 "$A" 16)" &&
		dm_name one && wait_for attached && dmsetup remove one && wait_for detached
}

reloaded() {
	modprobe daxmf_stack && map one <<<"$(linear 0 100 "$B" 16)" &&
		reload one <<<"$(linear 0 100 "$A" 16)" && wait_for attached && [ ! -d "$STACK/$B" ]
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_disks
require install_rule

check "a volume made before the module is loaded" \
	with_undo made_before
check "a volume made after the module is loaded" \
	with_undo made_after
check "a removed volume is detached" \
	with_undo removed
check "a volume that moves to another disk" \
	with_undo reloaded
finish
