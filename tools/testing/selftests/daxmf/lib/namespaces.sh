# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Finds, binds and converts namespaces of persistent memory.

# require_ns KIND [N] -- skip the test if there is no Nth namespace of this kind; sets NS.
require_ns() {
	NS=$(ns_find "$@") || skip_all "no namespace of kind $1"
}

# require_disk KIND -- bind a namespace of this kind; sets NS, DISK, and START, the disk's physical
# address.
# shellcheck disable=SC2034 # for the tests
require_disk() {
	require_ns "$1"
	require ns_bind "$NS"
	DISK=$(ns_disk "$NS")
	START=$(ns_start "$NS")
}

# require_disks -- bind two disks on which a write clears poison; sets A, which has 512 MiB, and B.
# START is the physical address of A.
# shellcheck disable=SC2034 # for the tests
require_disks() {
	require_disk virtio
	B=$DISK
	require_disk memmap
	A=$DISK
}

# ns_kind NS -- print nvdimm, labelled, virtio or memmap. Fails for a seed, and for an NVDIMM with a
# label area but no labels.
ns_kind() {
	local dir=$ND/devices/$1 dimm

	[ "$(cat "$dir/size")" != 0 ] || return
	case $(readlink -f "$dir") in
	*/virtio*) echo virtio ;;
	*/e820_pmem/*) echo memmap ;;
	*)
		case $(cat "$dir/devtype") in
		nd_namespace_pmem) echo labelled ;;
		*)
			IFS=, read -r dimm _ <"$dir/../mapping0"
			! dimm_has_labels "$dimm" && echo nvdimm
			;;
		esac
		;;
	esac
}

# ns_find KIND [N] -- print the name of the Nth namespace of a kind, the first by default.
ns_find() {
	local dir ns left=${2:-1}

	for dir in "$ND"/devices/namespace*; do
		ns=${dir##*/}
		[ "$(ns_kind "$ns")" = "$1" ] || continue
		left=$((left - 1))
		[ $left = 0 ] && echo "$ns" && return
	done
	return 1
}

# ns_get NS ATTRIBUTE -- print an attribute of the namespace in sysfs.
ns_get() {
	cat "$ND/devices/$1/$2"
}

# ns_device NS -- print the device that a driver binds to: the namespace, or the pfn or btt device
# that claims the namespace.
ns_device() {
	local holder

	holder=$(cat "$ND/devices/$1/holder" 2>/dev/null)
	echo "${holder:-$1}"
}

# ns_driver NS -- print the bound driver, or nothing.
ns_driver() {
	basename "$(readlink "$ND/devices/$(ns_device "$1")/driver")"
}

# ns_disk NS -- print the name of the namespace's disk.
ns_disk() {
	local dir

	for dir in "$ND/devices/$(ns_device "$1")"/block/*; do
		[ -e "$dir" ] && basename "$dir" && return
	done
	fail "$1 has no disk"
}

# ns_start NS -- print the physical address of the first byte of the namespace's disk, in decimal.
ns_start() {
	echo $(($(ns_get "$(ns_device "$1")" resource)))
}

ns_unbind() {
	local device

	device=$(ns_device "$1")
	[ -e "$ND/devices/$device/driver" ] || return 0
	echo "$device" >"$ND/devices/$device/driver/unbind"
}

# ns_bind NS [DRIVER] -- bind the driver. Unbind another driver first.
ns_bind() {
	local driver=${2:-$DRIVER}

	load_driver "$driver" || return
	[ "$(ns_driver "$1")" = "$driver" ] && return
	ns_unbind "$1"
	ns_device "$1" >"$ND/drivers/$driver/bind" || return
	on_exit ns_unbind "$1"
	# udev opens the device node for a moment. During this time mkfs would fail with "in use".
	settle
	set_simulated "$1" "$SIMULATED"
}

# set_simulated NS tell|list -- set what the driver does with simulated failures, see SIMULATED.
set_simulated() {
	local disk

	disk=$(ns_disk "$1") && [ -b "/dev/$disk" ] || return
	! has_counters "$disk" || echo "$2" >"/sys/block/$disk/memory_failure/simulated"
}

# drop_claim NS -- unbind the pfn or btt device that claims the namespace, and end its claim.
drop_claim() {
	local claim

	claim=$(ns_device "$1")
	ns_unbind "$1"
	[ "$claim" = "$1" ] || echo >"$ND/devices/$claim/namespace"
}

# as_raw NS COMMAND... -- run the command while nd_pmem ignores the info block, so that DISK has all
# memory of the namespace. nd_pmem makes no page map for such a namespace.
as_raw() {
	local ns=$1 status=0

	shift
	drop_claim "$ns"
	echo 1 >"$ND/devices/$ns/force_raw" && ns_bind "$ns" nd_pmem || return
	DISK=$(ns_disk "$ns")
	"$@" || status=1
	ns_unbind "$ns" && echo 0 >"$ND/devices/$ns/force_raw" && return $status
}

# make_raw NS -- zero the info block and the page map, and leave no driver bound.
make_raw() {
	as_raw "$1" write_zeroes
}

write_zeroes() {
	dd if=/dev/zero of="/dev/$DISK" bs=1M count=16 oflag=direct conv=notrunc status=none
}

# make_fsdax NS ram|pmem [ALIGN] -- make an fsdax namespace, with the page map in RAM or on the
# device, and with the data aligned to ALIGN bytes. ndctl cannot do this: for ndctl a raw namespace
# of kind memmap or virtio is already fsdax, so ndctl writes no info block.
make_fsdax() {
	make_raw "$1" && claim_by pfn "$1" "mode=$2" "align=${3:-$((2 << 20))}"
}

make_sector() {
	make_raw "$1" && claim_by btt "$1" sector_size="$PAGE"
}

# claim_by pfn|btt NS ATTRIBUTE=VALUE... -- make a pfn or btt device claim the namespace, and bind
# DRIVER to this device. The driver writes the info block then.
claim_by() {
	local region seed set

	region=$(readlink -f "$ND/devices/$2/..")
	seed=$region/$(cat "$region/$1_seed") || return
	for set in "${@:3}"; do
		echo "${set#*=}" >"$seed/${set%%=*}" || return
	done
	cat /proc/sys/kernel/random/uuid >"$seed/uuid" && echo "$2" >"$seed/namespace" && ns_bind "$2"
}
