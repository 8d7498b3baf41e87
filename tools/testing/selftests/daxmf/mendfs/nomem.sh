#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each allocation of an operation fails once. The operation either fails with ENOMEM and changes
# nothing, or succeeds.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

begin 1
[ -d /sys/kernel/debug/failslab ] || skip_all "the kernel injects no faults"
require_ns "$KIND"
require ns_bind "$NS"
require map small 0 65536 linear "/dev/$(ns_disk "$NS")" 0
require modprobe mendfs
require mkfs.mendfs -q -f -m 8 "/dev/$DM"
mkdir -p $MNT

check "allocations that fail" mfmend faults "/dev/$DM" $MNT
finish
