# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Raises memory failures, and checks signals and failed reads.

# poison ADDRESS -- report the page frame as failed, whether it is used or not. The write returns
# the result of memory_failure().
poison() {
	module_loaded hwpoison_inject || modprobe hwpoison-inject || return
	printf '%#x' $(($1 / PAGE)) >/sys/kernel/debug/hwpoison/corrupt-pfn
}

# owners_signalled SOURCE OWNER... -- raise a failure in the page of the first owner. mfchain checks
# that each owner gets the signal that it must get.
owners_signalled() {
	[ "$1" != corrupt-pfn ] || modprobe hwpoison-inject || return
	mfchain run --source "$@"
}

# raise_machine_check ADDRESS -- raise a machine check, and wait until the kernel has handled it.
# The page is not in the linear map then.
raise_machine_check() {
	log_mark "machine check at $1" && host-mce "$(printf %#x "$1")" &&
		wait_for log_says "Memory failure: $(printf %#x $(($1 / PAGE))): recovery action" \
			"machine check at $1"
}

# poison_page FILE PAGE -- report the page of a file as failed, while no process maps the page.
poison_page() {
	poison "$(address "$1" "$2")"
}

cannot_read() {
	fails_with "Input/output error" dax_read "$1" "$2"
}

can_touch() {
	mfchain touch "$1,offset=$(($2 * PAGE))${3+,$3}"
}

cannot_touch() {
	fails_with "BUS_MCEERR_AR" can_touch "$@"
}

# reset_nfit -- unbind the NVDIMMs' bus and bind it again. Nothing else clears nfit's list of bad
# memory.
reset_nfit() {
	unload_modules
	rebind_nfit true
}

# rebind_nfit COMMAND -- unbind the NVDIMMs' bus, run the command, which must succeed, and bind the
# bus again.
rebind_nfit() {
	local device=ACPI0012:00 driver

	driver=$(readlink -f /sys/bus/platform/devices/$device/driver) || return
	echo $device >"$driver/unbind" && "$1" && echo $device >"$driver/bind" && settle
}

# source_cases SOURCE -- run the eight cases that must pass with every source of failures.
source_cases() {
	local source=$1 before file

	require_ns "$KIND"
	[ "$source" != mce ] || on_exit reset_nfit
	require xfs_on "$NS"
	cd "$MNT" || exit
	on_exit cd /
	for file in alone shared late; do
		require fill $file 16
	done
	require share shared clone
	require cp --reflink=never shared stranger
	before=$(has_counters "$DISK" && counters "$DISK")

	check "the owner of an unshared page is signalled" \
		owners_signalled "$source" alone,offset=8K stranger,offset=8K,quiet
	check "every owner of a shared page is signalled" \
		owners_signalled "$source" shared,offset=12K clone,offset=12K stranger,offset=12K,quiet
	check "a process with a private mapping is signalled" \
		owners_signalled "$source" alone,offset=20K,private
	check_ours "a process without early signals is signalled when it touches the page" \
		owners_signalled "$source" late,offset=4K late,offset=4K,late
	check_ours "the counters add up" \
		counters_moved "$DISK" "$before" 4 0 0
	check_ours "the failed page is recorded as bad" \
		file_page_bad alone 2
	check_ours "a read of the failed page fails" \
		fails_with "Input/output error" dax_read alone 2
	check "a read of the next page succeeds" \
		dax_read alone 3
}
