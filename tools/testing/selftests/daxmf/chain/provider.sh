#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The sample provider: any free memory can have page frames and hear of their failures.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# provide START SIZE
provide() {
	modprobe rust_dax_provider "start=$1" "size=$2"
}

# refused ERROR START SIZE -- with one line of its own, and nothing left of it.
refused() {
	local mark="provide $2 $3" lines

	log_mark "$mark"
	fails_with "$1" provide "$2" "$3" || return
	lines=$(log_since "$mark" | grep -c '^rust_dax_provider: ')
	[ "$lines" = 1 ] || fail "$lines lines in the log" || return
	! grep rust_dax_provider /proc/iomem && ! ls /sys/kernel/debug/rust_dax_provider 2>/dev/null
}

is_told() {
	poison "$START"
	poison $((START + SIZE - PAGE))
	is cat /sys/kernel/debug/rust_dax_provider/received 2
}

bound_namespace() {
	ns_bind "$NS" && refused "Device or resource busy" "$START" "$SIZE"
}

taken_memory() {
	bind_fails "in use" "$NS"
}

begin 8
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns "$KIND"
START=$(($(ns_get "$NS" resource)))
SIZE=$(ns_get "$NS" size)

check "free memory" \
	provide "$START" "$SIZE"
check "it is told of failures in its first and last page" \
	is_told
check "a namespace whose memory is taken is refused" \
	taken_memory
require unload rust_dax_provider
check "memory of a bound namespace" \
	bound_namespace
require ns_unbind "$NS"
check "no memory" \
	refused "Invalid argument" "$START" 0
check "unaligned memory" \
	refused "Invalid argument" $((START + PAGE)) $((SIZE - PAGE))
check "memory beyond all addresses" \
	refused "Invalid argument" 0xffffffffffe00000 0x400000
check "memory that the kernel uses itself" \
	refused "Device or resource busy" 0x1000000 0x200000
finish
