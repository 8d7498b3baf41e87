#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# ndctl creates, lists and destroys namespaces of every mode, and prints the same with both drivers.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# only_driver -- load DRIVER, and unload the other driver, so that ndctl finds only DRIVER.
only_driver() {
	local other

	for other in nd_pmem daxmf_pmem; do
		[ $other = "$DRIVER" ] || ! module_loaded $other || unload $other || return
	done
	load_driver "$DRIVER"
}

# without_names -- remove the UUIDs and numbers from ndctl's output.
without_names() {
	grep -vE '"(raw_)?uuid"' |
		sed -E 's/"(dev|chardev|daxregion)":.*/"\1"/; s/(pmem[0-9]+)(\.[0-9]+)/\1/'
}

list() {
	ndctl list -Ni -r "$REGION" | without_names
}

# A devdax namespace has no disk, not even after the region is enabled again, as after a boot.
life_of_devdax() {
	only_driver && ndctl create-namespace -r "$REGION" -s 128M -m devdax | without_names &&
		ndctl disable-region "$REGION" && ndctl enable-region "$REGION" && list || return
	NS=$(ndctl list -N -r "$REGION" | sed -n 's/.*"dev":"\(.*\)",/\1/p')
	fails_with "has no disk" ns_disk "$NS" && daxctl list | without_names &&
		ndctl destroy-namespace -f "$NS"
}

# life MODE [OPTION...] -- create a namespace, disable, enable, reconfigure and destroy it.
life() {
	only_driver && ndctl create-namespace -r "$REGION" -s 128M -m "$@" >"$TMP/created" || return
	NS=$(sed -n 's/.*"dev":"\(.*\)",/\1/p' "$TMP/created")
	without_names <"$TMP/created"
	ndctl disable-namespace "$NS" || return
	[ "$1" != sector ] || ndctl check-namespace "$NS" || return
	ndctl enable-namespace "$NS" && list || return
	DISK=$(ns_disk "$NS") && write_zeroes || return
	ndctl create-namespace -f -e "$NS" -m raw | without_names
	ndctl destroy-namespace -f "$NS" && list
}

begin 3
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_labels
check "fsdax" \
	drivers_agree life fsdax --map=dev --align=4K
check "sector" \
	drivers_agree life sector
check "devdax" \
	drivers_agree life_of_devdax
finish
