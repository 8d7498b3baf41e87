#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# `unbind` waits while a driver still has a claim of the memory of its namespace.
#
# The test does not run on the debug kernel by default, because daxmf_keep stores a KBox in a
# static, and the kernel does not drop statics. kmemleak reports this box.

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

# `rmmod` drops the claim.
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
