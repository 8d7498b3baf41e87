#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Damaged images: each image is mounted, or refused with a reason, as the findings of fsck require.
#
#   SEED=N		seed of the images [0]
#   RUNTIME=SECONDS	how long to try images, instead of COUNT images
#
# A mount waits for RCU for a part of its time, so the test uses several devices at the same time.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

SEED=${SEED:-0}
# The number of images of one seed.
ALL=1000000
COUNT=200
[ -z "${RUNTIME-}" ] || COUNT=$ALL
# Size of an image in sectors, see mfmend.
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

# try_images WORKER -- try the images of this worker.
try_images() {
	mfmend images --first $((SEED * ALL + $1)) --step $WORKERS \
		--count $((COUNT / WORKERS)) ${RUNTIME:+--seconds "$RUNTIME"} \
		"/dev/mapper/small$1" "$TMP/$1"
}

try_all_images() {
	local -a workers

	mapfile -t workers < <(seq 0 $((WORKERS - 1)))
	in_parallel try_images "${workers[@]}"
}

begin 1
require_ns "$KIND"
require make_devices
require modprobe mendfs

check "damaged images" try_all_images
# Write the mark again, because later lines can have overwritten it. mfmend has checked these lines.
log_mark "$LOG_MARK"
finish
