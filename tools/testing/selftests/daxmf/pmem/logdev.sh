#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# XFS has its log and its realtime section on other namespaces. A failure in one of these namespaces
# has the same result as with nd_pmem.

# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# xfs -- make and mount XFS on three namespaces with DRIVER.
xfs() {
	local data log rt

	ns_bind "$NS" && ns_bind "$LOG" && ns_bind "$RT" && data=/dev/$(ns_disk "$NS") &&
		log=/dev/$(ns_disk "$LOG") && rt=/dev/$(ns_disk "$RT") || return
	mkdir -p $MNT
	# XFS finds owners in the realtime section only with realtime groups, which an older mkfs
	# does not support.
	set -- mkfs.xfs -q -f -m reflink=0 -l "logdev=$log,size=64m" -r "rtdev=$rt"
	"$@" -m metadir=1,rmapbt=1 "$data" 2>/dev/null || "$@" -m rmapbt=0 "$data" || return
	mount -o "dax=always,logdev=$log,rtdev=$rt" "$data" $MNT
}

# fails_in NAME NS -- print what the kernel logs for a failure in the namespace, and whether the
# filesystem still works. NAME is the name of the section in the output.
fails_in() {
	local status=0 mark="failure in $1 $RANDOM"

	log_mark "$mark"
	poison $(($(ns_start "$2") + (16 << 20))) 2>/dev/null || status=1
	echo "$1: status $status"
	log_since "$mark" | grep -oE "XFS \(.*|recovery action for .*" | sed "s/of file .*//"
	touch $MNT/alive 2>/dev/null && echo "up" || echo "down"
}

failures() {
	xfs && fails_in "realtime section" "$RT" && fails_in log "$LOG" && umount $MNT &&
		ns_unbind "$NS" && ns_unbind "$LOG" && ns_unbind "$RT"
}

begin 1
[ "$DRIVER" = daxmf_pmem ] || skip_all "needs daxmf_pmem"
require_ns virtio
LOG=$NS
require_ns nvdimm
RT=$NS
require_ns memmap
# With nd_pmem an NVDIMM has DAX only if its namespace is fsdax.
on_exit make_raw "$RT"
require make_fsdax "$RT" pmem
check "failures in the log and in the realtime section" \
	drivers_agree failures
finish
