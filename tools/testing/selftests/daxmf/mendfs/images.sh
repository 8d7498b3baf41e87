#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Damaged images: each is mounted, or refused with a reason, and fsck agrees.
#
#   IMAGES=N  try so many

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

IMAGES=${IMAGES:-1000}
# Blocks of an image, see mfmend.
BLOCKS=1040

mount_all() {
	time mfmend images --count "$IMAGES" "/dev/$DM" $MNT
}

begin 1
require_ns "$KIND"
require ns_bind "$NS"
require map small 0 $((BLOCKS * 8)) linear "/dev/$(ns_disk "$NS")" 0
require modprobe mendfs
mkdir -p $MNT

check "$IMAGES damaged images" mount_all
finish
