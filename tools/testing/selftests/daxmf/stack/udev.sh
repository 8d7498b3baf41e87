#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# With the udev rule, nobody need attach anything.

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
		told_on_dm corrupt-pfn
}

made_after() {
	modprobe daxmf_stack && map one <<<"$(linear 0 400 "$A" 16)" && wait_for attached &&
		told_on_dm corrupt-pfn
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

check "a volume that was there before the module" \
	clean made_before
check "a volume that comes later" \
	clean made_after
check "a volume that goes" \
	clean removed
check "a volume that moves to another disk" \
	clean reloaded
finish
