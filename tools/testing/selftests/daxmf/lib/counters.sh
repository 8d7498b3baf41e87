# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The counters of memory failures in a disk's sysfs folder.

# counters DISK -- print received, delivered, declined and failed.
counters() {
	counters_in "/sys/block/$1/memory_failure"
}

counters_in() {
	local name count counts=()

	for name in received delivered declined failed; do
		read -r count <"$1/$name" && counts+=("$count") || return
	done
	echo "${counts[*]}"
}

has_counters() {
	[ -d "/sys/block/$1/memory_failure" ]
}

# counters_moved DISK BEFORE DELIVERED DECLINED FAILED -- check that the counters rose by exactly
# these numbers since BEFORE, and that "received" rose by their sum.
counters_moved() {
	local -a was now
	local sum=$(($3 + $4 + $5)) want

	has_counters "$1" || return 0
	read -ra was <<<"$2"
	want="$((was[0] + sum)) $((was[1] + $3)) $((was[2] + $4)) $((was[3] + $5))"
	read -ra now <<<"$(counters "$1")"
	[ "${now[*]}" = "$want" ] ||
		fail "counters (received delivered declined failed): ${now[*]}, not $want"
}
