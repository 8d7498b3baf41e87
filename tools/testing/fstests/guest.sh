#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run the suite in the guest, on the disks of a virtio-pmem device and an NVDIMM. The suite is
# unpacked in memory. The arguments of its check are in /host/arguments, and the output of each test
# is written to /host/results.

# shellcheck disable=SC2034 # for lib.sh
SIMULATED=tell
# shellcheck source=tools/testing/selftests/daxmf/lib.sh
. /daxmf/selftests/lib.sh

# Make the users that the suite runs programs as. It expects these names.
users() {
	local name id=1001

	for name in fsgqa fsgqa2 123456-fsgqa; do
		# "*", because there is no line in /etc/shadow. With "x" the user could not log in.
		echo "$name:*:$id:$id::/tmp:/bin/bash" >>/etc/passwd
		echo "$name:x:$id:" >>/etc/group
		id=$((id + 1))
	done
	echo sys:x:3: >>/etc/group
}

# disk KIND -- bind a namespace of this kind, and print its disk.
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
		# Small, because a mount reads all metadata. It is enough for all tests, except
		# those that make small filesystems.
		export MKFS_OPTIONS='-q -f -m 2048'
	END
}

users
# The client and the server of the lock tests use the loopback device.
ip link set lo up
mkdir -p /mnt/test /mnt/scratch /run/fstests /host/results
cd /run/fstests && tar xf /host/suite.tar && modprobe mendfs || exit
test=$(disk virtio) && scratch=$(disk nvdimm) && config "$test" "$scratch" &&
	mkfs.mendfs -q -f -m 2048 "/dev/$test" || exit
read -ra arguments </host/arguments
./check "${arguments[@]}"
status=$?
# 1 means that tests failed. The host compares them with the list of failures.
[ $status != 1 ] || status=0
umount /mnt/test /mnt/scratch 2>/dev/null
undo_all
unload_modules
exit $status
