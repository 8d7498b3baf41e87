#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Namespaces that ndctl has given another mode are refused: what their info block says would be
# overwritten by whoever takes them for raw.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# reconfigure MODE... -- as ndctl does with the stock driver, which is then unloaded.
reconfigure() {
	load_driver nd_pmem && ndctl create-namespace -f -e "$NS" -m "$@" && unload nd_pmem
}

# forget_claim -- have the namespace appear anew, as after a boot, with no driver.
forget_claim() {
	local region

	region=$(basename "$(readlink -f "$ND/devices/$NS/..")")
	echo 0 >$ND/drivers_autoprobe
	ndctl disable-region "$region" && ndctl enable-region "$region"
	local status=$?
	echo 1 >$ND/drivers_autoprobe
	return $status
}

refused() {
	reconfigure "$@" && forget_claim && bind_fails "info block" "$NS" && unload daxmf_pmem
}

cannot_bind() {
	fails_with "No such device" tee $ND/drivers/daxmf_pmem/bind <<<"$1"
}

# A namespace that another device has claimed, and that device: no fault, so no line in the log.
claimed() {
	reconfigure fsdax --map=mem && load_driver daxmf_pmem &&
		cannot_bind "$NS" && cannot_bind "$(ns_get "$NS" holder)" &&
		fails_with "has no disk" ns_disk "$NS" && unload daxmf_pmem
}

raw_again() {
	reconfigure raw && ns_bind "$NS" daxmf_pmem
}

begin 5
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns nvdimm
on_exit reconfigure raw

check "mode fsdax" \
	refused fsdax --map=mem
check "mode sector" \
	refused sector
check "mode devdax" \
	refused devdax --map=mem
check "a namespace that is claimed" \
	claimed
check "mode raw is bound" \
	raw_again
finish
