#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A driver keeps the memory of a namespace when it is unbound: it stays bound until the memory is
# given up.
#
# Not on the debug kernel: what the driver's static has allocated is never freed, and kmemleak says so.

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

# The module gives the memory up when it goes.
ends_when_given_up() {
	rmmod daxmf_keep && wait $UNBIND && fails_with "" is_claimed
}

begin 4
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs the crate"
require_ns "$KIND"

check "a driver keeps memory" bind_keeper
unbind_in_background
check "unbinding waits for it" has_waited
check "it ends when the memory is given up" ends_when_given_up
check "the memory can be claimed again" ns_bind "$NS"
finish
