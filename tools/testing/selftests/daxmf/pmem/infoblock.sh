#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# For namespaces with an unusual or wrong info block, daxmf_pmem does the same as nd_pmem.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# make_blocks CHANGES... -- for each argument, make the file $TMP/CHANGES with a changed copy of the
# info block in $TMP/good. CHANGES are FIELD=VALUE, separated by commas. The checksum is right,
# unless CHANGES set it.
make_blocks() {
	python3 - "$TMP" "$@" <<-'END'
		import struct, sys
		FIELDS = dict(version_minor=(54, "<H"), dataoff=(56, "<Q"), mode=(72, "<I"),
			      start_pad=(76, "<I"), end_trunc=(80, "<I"), align=(84, "<I"),
			      page_size=(88, "<I"), page_struct_size=(92, "<H"), checksum=(4088, "<Q"))
		def checksum(block):
		    low = high = 0
		    for (word,) in struct.iter_unpack("<I", block):
		        low = (low + word) & 0xffffffff
		        high += low
		    return (high & 0xffffffff) << 32 | low
		good = open(f"{sys.argv[1]}/good", "rb").read()
		assert good.startswith(b"NVDIMM_PFN_INFO")
		for changes in sys.argv[2:]:
		    block = bytearray(good[:4088] + bytes(8))
		    fields = dict(change.split("=") for change in changes.split(","))
		    for field, value in fields.items():
		        place, code = FIELDS[field]
		        struct.pack_into(code, block, place, int(value, 0))
		    if "checksum" not in fields:
		        struct.pack_into("<Q", block, 4088, checksum(block))
		    open(f"{sys.argv[1]}/{changes}", "wb").write(block)
	END
}

# The info block is in the second page of the namespace. /dev/mem can read it while no driver is
# bound.
get_block() {
	dd if=/dev/mem of="$TMP/$1" bs=$PAGE skip=$(($(ns_get "$NS" resource) / PAGE + 1)) count=1 status=none
}

put_block() {
	dd if="$TMP/$1" of=/dev/mem bs=$PAGE seek=$(($(ns_get "$NS" resource) / PAGE + 1)) conv=notrunc \
		status=none && get_block now && cmp "$TMP/$1" "$TMP/now"
}

# report -- print the mode of the namespace, its size, and whether it has DAX.
report() {
	local disk

	if ! disk=$(ns_disk "$NS"); then
		echo refused
	elif [ "$(ns_device "$NS")" = "$NS" ]; then
		# DAX of a raw namespace is not compared.
		echo "raw, $(<"/sys/block/$disk/size") sectors"
	else
		echo "fsdax, $(<"/sys/block/$disk/size") sectors, DAX $(<"/sys/block/$disk/queue/dax")"
	fi
}

# found CHANGES -- bind DRIVER to the namespace with this info block, and call report.
found() {
	local device

	drop_claim "$NS" && put_block "$1" && echo 0 >$ND/drivers_autoprobe || return
	# The first probe makes a pfn device of the namespace. The second one probes that device.
	echo "$NS" >"$ND/drivers/$DRIVER/bind"
	device=$(ns_device "$NS")
	# The bus adds this device asynchronously. Autoprobe is off, so that no other driver binds
	# it.
	[ "$device" = "$NS" ] || { wait_for test -e "$ND/devices/$device" &&
		echo "$device" >"$ND/drivers/$DRIVER/bind"; }
	echo 1 >$ND/drivers_autoprobe
	report
}

# claimed CHANGES -- bind DRIVER to the pfn device, which was made before the change of the info
# block, and call report.
claimed() {
	ns_unbind "$NS"
	put_block "$1" || return
	echo "$PFN" >"$ND/drivers/$DRIVER/bind"
	report
}

# changed ATTRIBUTE VALUE -- set an attribute of the pfn device to a value that contradicts the info
# block, bind DRIVER, and call report.
changed() {
	local was

	ns_unbind "$NS"
	was=$(ns_get "$PFN" "$1") && put_block good && echo "$2" >"$ND/devices/$PFN/$1" || return
	echo "$PFN" >"$ND/drivers/$DRIVER/bind"
	report
	echo "$was" >"$ND/devices/$PFN/$1"
}

# On a padded namespace nd_pmem offers DAX, which is wrong. daxmf_pmem does not offer DAX, and the
# sample provider refuses the namespace.
padded() {
	! drivers_agree found "$1" || return
	grep -q "DAX 1" "$TMP/nd_pmem" && sed s/1$/0/ "$TMP/nd_pmem" | diff - "$TMP/daxmf_pmem" &&
		log_says "daxmf_pmem pfn.*: padded at its start" && ns_unbind "$NS" &&
		fails_with "Invalid argument" ns_bind "$NS" rust_dax_provider
}

# Only daxmf_pmem is tested: with nd_pmem the kernel warns, and leaves half of the memory mapped.
refused() {
	is found "$1" refused && log_says "daxmf_pmem pfn.*: info block cannot be used: EINVAL"
}

CHECKSUM=checksum=1
NO_ROOM=dataoff=$((2 << 20))
CUT_OFF=end_trunc=0xfff00000
OLDER=version_minor=1,dataoff=$((32 << 20))
# The page map is in RAM, because with padding nd_pmem's page map does not fit on the device.
PADDED=mode=1,start_pad=$((2 << 20))

begin 9
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
[ -e /dev/mem ] || skip_all "needs /dev/mem"
require_ns memmap
on_exit make_raw "$NS"
require load_driver nd_pmem
require load_driver daxmf_pmem
NO_DATA=dataoff=$(ns_get "$NS" size)
require make_fsdax "$NS" pmem
PFN=$(ns_device "$NS")
require ns_unbind "$NS"
require get_block good
require make_blocks $CHECKSUM "$NO_DATA" $NO_ROOM $CUT_OFF $OLDER $PADDED
check "an attribute of the device contradicts the info block" \
	drivers_agree changed mode ram
check "the data offset of an existing device changed" \
	drivers_agree claimed $OLDER
check "the checksum of an existing device is wrong" \
	drivers_agree claimed $CHECKSUM
check "a wrong checksum" \
	drivers_agree found $CHECKSUM
check "no data" \
	drivers_agree found "$NO_DATA"
check "no room for the page map" \
	refused $NO_ROOM
check "end_trunc is larger than the namespace" \
	drivers_agree found $CUT_OFF
check "an older version" \
	drivers_agree found $OLDER
check "padding at the start" \
	padded $PADDED
finish
