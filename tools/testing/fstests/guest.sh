#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run the suite in the guest, on the two disks of a virtio-pmem device and an NVDIMM. It is unpacked
# in memory. What its check is called with is in /host/arguments, and what it has to say of each test is
# left in /host/results.

# shellcheck disable=SC2034 # for lib.sh
SIMULATED=tell
# shellcheck source=tools/testing/selftests/daxmf/lib.sh
. /daxmf/selftests/lib.sh

# The users that tests run programs as. The suite calls them by these names.
users() {
	local name id=1001

	for name in fsgqa fsgqa2 123456-fsgqa; do
		# Without a line in /etc/shadow: "x" would be none to log in as.
		echo "$name:*:$id:$id::/tmp:/bin/bash" >>/etc/passwd
		echo "$name:x:$id:" >>/etc/group
		id=$((id + 1))
	done
	echo sys:x:3: >>/etc/group
}

# disk KIND -- the disk that a namespace becomes.
disk() {
	local ns

	ns=$(ns_find "$1") && ns_bind "$ns" >/dev/null && ns_disk "$ns"
}

config() {
	cat >local.config <<-END
		export FSTYP=mendfs
		export TEST_DEV=/dev/$1
		export TEST_DIR=/mnt/test
		export SCRATCH_DEV=/dev/$2
		export SCRATCH_MNT=/mnt/scratch
		export RESULT_BASE=/host/results
		# A mount reads all metadata. This is room enough for all tests but those of small filesystems.
		export MKFS_OPTIONS='-q -f -m 2048'
	END
}

users
# The two sides of a test of locks talk to each other.
ip link set lo up
mkdir -p /mnt/test /mnt/scratch /run/fstests /host/results
cd /run/fstests && tar xf /host/suite.tar && modprobe mendfs || exit
test=$(disk virtio) && scratch=$(disk nvdimm) && config "$test" "$scratch" &&
	mkfs.mendfs -q -f -m 2048 "/dev/$test" || exit
read -ra arguments </host/arguments
./check "${arguments[@]}"
status=$?
# Some tests have failed: which may, the host knows.
[ $status != 1 ] || status=0
umount /mnt/test /mnt/scratch 2>/dev/null
undo_all
unload_modules
exit $status
