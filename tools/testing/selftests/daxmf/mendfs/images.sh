#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Damaged images: each is mounted, or refused with a reason, and fsck agrees.
#
#   SEED=N RUNTIME=SECONDS	where to begin [0], and how long to go on instead of to the last image
#
# It is in part a wait for RCU: several devices are used side by side.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-0}
# Images of one seed.
ALL=1000000
COUNT=200
[ -z "${RUNTIME-}" ] || COUNT=$ALL
# Sectors of an image, see mfmend.
SECTORS=8320
WORKERS=4

make_devices() {
	local number disk

	ns_bind "$NS" && disk=$(ns_disk "$NS") || return
	for ((number = 0; number < WORKERS; number++)); do
		map "small$number" 0 $SECTORS linear "/dev/$disk" $((number << 15)) || return
		mkdir -p "$TMP/$number"
	done
}

# try_images WORKER -- its share of them.
try_images() {
	mfmend images --first $((SEED * ALL + $1)) --step $WORKERS \
		--count $((COUNT / WORKERS)) ${RUNTIME:+--seconds "$RUNTIME"} \
		"/dev/mapper/small$1" "$TMP/$1"
}

try_all_images() {
	local -a workers

	mapfile -t workers < <(seq 0 $((WORKERS - 1)))
	each try_images "${workers[@]}"
}

begin 1
require_ns "$KIND"
require make_devices
require modprobe mendfs

check "damaged images" try_all_images
# The mark may have gone from the log; mfmend has looked at what was in it.
log_mark "$LOG_MARK"
finish
