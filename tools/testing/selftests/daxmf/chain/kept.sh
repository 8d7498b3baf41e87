#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A driver that keeps the memory of a namespace is unbound: unbind waits until the driver releases
# the memory.
#
# The test does not run on the debug kernel by default, because kmemleak reports the allocation of
# the driver's static, which the driver never frees.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

bind_keeper() {
	load_driver daxmf_keep && ns_unbind "$NS" &&
		ns_device "$NS" >"$ND/drivers/daxmf_keep/bind" && is_claimed
}

unbind_in_background() {
	ns_unbind "$NS" &
	UNBIND=$!
}

has_waited() {
	wait_for log_says "unbind waits: the driver still has a claim of the memory" &&
		kill -0 $UNBIND && is_claimed
}

is_claimed() {
	grep -q " : $NS\$" /proc/iomem
}

# The module releases the memory when it is unloaded.
ends_when_released() {
	rmmod daxmf_keep && wait $UNBIND && fails_with "" is_claimed
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs the crate"
require_ns "$KIND"

check "a driver keeps memory" bind_keeper
unbind_in_background
check "unbind waits for the driver" has_waited
check "unbind ends when the driver releases the memory" ends_when_released
check "the memory can be claimed again" ns_bind "$NS"
finish
