#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# ndctl makes, lists and destroys namespaces of every mode with our driver as with nd_pmem.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# only_driver -- have ndctl find no other driver than DRIVER.
only_driver() {
	local other

	for other in nd_pmem daxmf_pmem; do
		[ $other = "$DRIVER" ] || ! module_loaded $other || unload $other || return
	done
	load_driver "$DRIVER"
}

# without_names -- what ndctl says of a namespace, but for its UUIDs and number.
without_names() {
	grep -vE '"(raw_)?uuid"' |
		sed -E 's/"(dev|chardev|daxregion)":.*/"\1"/; s/(pmem[0-9]+)(\.[0-9]+)/\1/'
}

list() {
	ndctl list -Ni -r "$REGION" | without_names
}

# life_of_devdax -- none of it is ours, nor when the region comes anew, as after a boot.
life_of_devdax() {
	only_driver && ndctl create-namespace -r "$REGION" -s 128M -m devdax | without_names &&
		ndctl disable-region "$REGION" && ndctl enable-region "$REGION" && list || return
	NS=$(ndctl list -N -r "$REGION" | sed -n 's/.*"dev":"\(.*\)",/\1/p')
	fails_with "has no disk" ns_disk "$NS" && daxctl list | without_names &&
		ndctl destroy-namespace -f "$NS"
}

# life MODE [OPTION...] -- of a namespace, from its creation to its end.
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
	alike life fsdax --map=dev --align=4K
check "sector" \
	alike life sector
check "devdax" \
	alike life_of_devdax
finish
