#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: sequences.sh LONGER SEED
#
# crash.sh runs this in the guest. It runs all sequences of one and two operations on the first
# NVDIMM, and LONGER sequences of three, which follow from SEED.

# shellcheck source=tools/testing/selftests/daxmf/lib.sh
. /daxmf/selftests/lib.sh

touch /host/now/up
NS=$(ns_find nvdimm) && ns_bind "$NS" && DISK=$(ns_disk "$NS") &&
	mount_mendfs "/dev/$DISK" && fsmodel sequences --longer "$1" --seed "$2" "$MNT" && unmount
