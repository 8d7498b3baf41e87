#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: sequences.sh LONGER SEED
#
# Run in the guest by crash.sh: do all short sequences of operations on the first NVDIMM, and LONGER
# ones that follow from SEED.

# shellcheck source=tools/testing/selftests/daxmf/lib.sh
. /daxmf/selftests/lib.sh

touch /host/now/up
NS=$(ns_find nvdimm) && ns_bind "$NS" && DISK=$(ns_disk "$NS") &&
	mount_mendfs "/dev/$DISK" && fsmodel sequences --longer "$1" --seed "$2" "$MNT" && unmount
