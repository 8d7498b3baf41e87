#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# ioctls and other requests of programs: the label, the owners of blocks (GETFSMAP), and the
# alignment of direct I/O.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# label [NEW] -- print the label, or set it.
label() {
	python3 - $MNT "$@" <<-'END'
		import fcntl, os, sys
		GET, SET = 0x81009431, 0x41009432
		directory = os.open(sys.argv[1], os.O_RDONLY)
		if len(sys.argv) > 2:
		    fcntl.ioctl(directory, SET, os.fsencode(sys.argv[2]).ljust(256, b"\0"))
		else:
		    print(fcntl.ioctl(directory, GET, bytes(256)).rstrip(b"\0").decode())
	END
}

# label_on_media LABEL -- check that the label is on the media.
label_on_media() {
	fsck.mendfs -n --json "/dev/$DISK" | grep -q "\"label\":\"$1\""
}

labels() {
	local longest=0123456789abcdef0123456789abcdef

	mendfs_on "$NS" -L first && is label first && label second && is label second &&
		remount && is label second && label $longest && is label $longest &&
		fails_with "Invalid argument" label ${longest}0 && is label $longest && label "" && is label "" &&
		label last && fails_with "Operation not permitted" as_user label none &&
		is as_user label last && mount -o remount,ro $MNT &&
		fails_with "Read-only file system" label none && cd / && unmount &&
		fsck_clean "/dev/$DISK" && label_on_media last
}

# as_user COMMAND... -- run a command or a function as an ordinary user.
as_user() {
	# shellcheck disable=SC2163 # it has the name
	export -f "$1"
	MNT=$MNT setpriv --reuid 1000 --regid 1000 --clear-groups bash -c '"$@"' bash "$@"
}

# save_superblock COPY FILE -- store a copy of the superblock in a file. restore_superblock COPY
# FILE writes it back.
save_superblock() {
	dd if="/dev/$DISK" of="$2" bs=$PAGE skip="$(superblock "$1")" count=1 iflag=direct status=none
}

restore_superblock() {
	dd if="$2" of="/dev/$DISK" bs=$PAGE seek="$(superblock "$1")" count=1 oflag=direct conv=notrunc \
		status=none
}

# The machine stopped when the first copy of the superblock had the new label, and the second copy
# still had the old label.
label_interrupted() {
	mendfs_on "$NS" -L old && read_geometry && save_superblock 1 "$TMP/old" && label new && unmount &&
		restore_superblock 1 "$TMP/old" && fsck_clean "/dev/$DISK" && label_on_media new &&
		mount_mendfs "/dev/$DISK" && is label new && unmount &&
		save_superblock 0 "$TMP/first" && save_superblock 1 "$TMP/second" &&
		cmp "$TMP/first" "$TMP/second" || return
	# fsck does the same.
	restore_superblock 1 "$TMP/old" && fsck.mendfs -y "/dev/$DISK"
	save_superblock 1 "$TMP/second" && cmp "$TMP/first" "$TMP/second"
}

# GETFSMAP returns the same map of the whole device with any number of records per call. The owners
# in the map are those that FIEMAP of the files returns.
map_is_right() {
	python3 - $MNT <<-'END'
		import errno, fcntl, os, re, struct, subprocess, sys
		GETFSMAP = 0xc0c0583b
		SHARED, SPECIAL, LAST = 8, 16, 32
		FREE, UNUSED, METADATA = 1, 2, 3
		TOP = (1 << 64) - 1
		directory = os.open(sys.argv[1], os.O_RDONLY)
		device = os.fstat(directory).st_dev
		device = os.major(device) << 8 | os.minor(device) & 0xff | (os.minor(device) & ~0xff) << 12

		def record(device, flags, physical, owner, offset, length):
		    return struct.pack("IIQQQQ24x", device, flags, physical, owner, offset, length)

		EVERYTHING = record(0xffffffff, 0xffffffff, TOP, TOP, TOP, 0)

		def call(low, high, room, flags=0, reserved=0):
		    buffer = bytearray(struct.pack("IIII6Q", flags, 0, room, 0, reserved, *[0] * 5) + low + high + bytes(64 * room))
		    fcntl.ioctl(directory, GETFSMAP, buffer)
		    count = struct.unpack_from("I", buffer, 12)[0]
		    assert struct.unpack_from("I", buffer, 4)[0] == 1
		    return count, [bytes(buffer[192 + 64 * i:256 + 64 * i]) for i in range(min(count, room))]

		def everything(room, high=EVERYTHING):
		    found, low = [], bytes(64)
		    while True:
		        count, records = call(low, high, room)
		        found += [struct.unpack("IIQQQQ24x", r) for r in records]
		        if not records or found[-1][1] & LAST:
		            return found
		        low = records[-1]

		whole = everything(1000)
		for room in (1, 2, 7, 5000):
		    assert everything(room) == whole, f"with {room} records a call"
		assert call(bytes(64), EVERYTHING, 0)[0] == len(whole)
		assert [r for r in whole if r[1] & LAST] == whole[-1:]
		assert {r[0] for r in whole} == {device}
		key = lambda r: (r[2], 0 if r[1] & SPECIAL else r[3], r[4])
		assert sorted(whole, key=key) == whole

		# No byte is missing, and unshared bytes are there once.
		end = 0
		for r in whole:
		    assert r[2] == end or r[2] < end and r[1] & SHARED, (r, end)
		    end = max(end, r[2] + r[5])
		free = sum(r[5] for r in whole if r[1] & SPECIAL and r[3] == FREE)
		stat = os.statvfs(sys.argv[1])
		assert free == stat.f_bfree * 4096, (free, stat)
		assert end == int(open(f"/sys/dev/block/{os.major(os.fstat(directory).st_dev)}:{os.minor(os.fstat(directory).st_dev)}/size").read()) * 512
		assert whole[0][3] == whole[-1][3] == METADATA

		# The extents of the files.
		owned = {}
		for name in os.listdir(sys.argv[1]):
		    path = os.path.join(sys.argv[1], name)
		    if not os.path.isfile(path):
		        continue
		    text = subprocess.run(["xfs_io", "-r", "-c", "fiemap -v", path], capture_output=True, text=True).stdout
		    for start, last, first in re.findall(r": \[(\d+)\.\.(\d+)\]: +(\d+)\.\.", text):
		        offset, length = int(start) * 512, (int(last) - int(start) + 1) * 512
		        owned.setdefault(os.stat(path).st_ino, []).append((offset, int(first) * 512, length))
		for number, extents in owned.items():
		    def blocks(pieces):
		        return {(o + i, p + i) for o, p, l in pieces for i in range(0, l, 4096)}
		    mine = [(r[4], r[2], r[5]) for r in whole if not r[1] & SPECIAL and r[3] == number]
		    assert blocks(mine) == blocks(extents), number
		assert {r[3] for r in whole if not r[1] & SPECIAL} == set(owned)

		# Records up to a limit.
		middle = whole[len(whole) // 2]
		limit = record(device, middle[1], middle[2], middle[3], middle[4], 0)
		upto = [r for r in whole if key(r) <= key(middle)]
		found = everything(3, limit)
		assert [r[2:] for r in found] == [r[2:] for r in upto], (found[-1], middle)

		# All records that have a byte, wherever they begin.
		for r in whole[::max(1, len(whole) // 20)]:
		    byte = r[2] + r[5] // 2
		    limit = record(device, 0xffffffff, byte, TOP, TOP, 0)
		    found = call(record(device, 0, byte, 0, 0, 0), limit, 5000)[1]
		    found = [struct.unpack("IIQQQQ24x", f) for f in found]
		    wanted = [w for w in whole if w[2] <= byte < w[2] + w[5]]
		    assert all(f[2] <= byte < f[2] + f[5] for f in found), (byte, found)
		    assert [f[3] for f in found] == [w[3] for w in wanted], (byte, found, wanted)
		    assert [f[2:] for f in found if not f[1] & SPECIAL] == [
		        w[2:] for w in wanted if not w[1] & SPECIAL], (byte, found, wanted)

		def refused(error, *arguments, **more):
		    try:
		        call(*arguments, **more)
		    except OSError as e:
		        assert e.errno == error, e
		    else:
		        raise AssertionError(arguments)

		refused(errno.EINVAL, EVERYTHING, bytes(64), 1)
		refused(errno.EINVAL, bytes(64), EVERYTHING, 1, flags=1)
		refused(errno.EINVAL, bytes(64), EVERYTHING, 1, reserved=1)
		refused(errno.EINVAL, record(device + 1, 0, 0, 0, 0, 0), EVERYTHING, 1)
		refused(errno.EINVAL, bytes(56) + b"x" * 8, EVERYTHING, 1)
		os.seteuid(1000)
		refused(errno.EPERM, bytes(64), EVERYTHING, 1)
	END
}

maps() {
	mendfs_on "$NS" && cd $MNT && on_exit cd / && map_is_right && fill alone 100 && fill holes 100 &&
		fallocate -p -o 40960 -l 40960 holes && share alone copy && share alone part 8192 0 16384 &&
		share alone part 8192 65536 16384 && rm alone && make_self_shared many 3000 && touch empty &&
		mkdir folder && map_is_right && remount && map_is_right
}

# The fsmap command of xfs_io prints the map.
mapped_by_xfs_io() {
	xfs_io -c fsmap $MNT | grep -c . | grep -qv "^0$"
}

alignment() {
	touch aligned && mkdir folder && python3 - <<-'END'
		import ctypes, mmap, os, struct
		libc, DIOALIGN = ctypes.CDLL(None, use_errno=True), 0x2000

		def alignment(name):
		    found = ctypes.create_string_buffer(256)
		    assert libc.statx(-100, name, 0, DIOALIGN, found) == 0
		    mask, = struct.unpack_from("I", found)
		    return mask & DIOALIGN and struct.unpack_from("II", found, 152)

		assert alignment(b"aligned") == (512, 512) and not alignment(b"folder")
		file = os.open("aligned", os.O_RDWR | os.O_DIRECT)
		memory = mmap.mmap(-1, 4096)
		memory[1:8] = b"unequal"
		assert os.pwritev(file, [memoryview(memory)[1:8]], 5) == 7
		assert os.preadv(file, [memoryview(memory)[101:108]], 5) == 7
		assert memory[101:108] == b"unequal"
	END
}

# Features that Documentation/mendfs.rst lists as missing are refused.
absent() {
	fallocate -l 1M absent && mkswap -q absent && fails_with "Invalid argument" swapon absent &&
		python3 - "/dev/$DISK" <<-'END'
		import ctypes, errno, fcntl, os, sys
		libc = ctypes.CDLL(None, use_errno=True)
		file = os.open("absent", os.O_RDWR)

		def call(function, *arguments):
		    if function(*arguments) < 0:
		        raise OSError(ctypes.get_errno(), "")

		def refused(error, function, *arguments):
		    try:
		        function(*arguments)
		    except OSError as e:
		        assert e.errno == error, (function, arguments, e)
		    else:
		        raise AssertionError((function, arguments))

		FIBMAP, FITRIM, ENABLE_VERITY, SET_ENCRYPTION = 1, 0xc0185879, 0x40806685, 0x800c6613
		refused(errno.EINVAL, fcntl.ioctl, file, FIBMAP, bytes(4))
		for request in (FITRIM, ENABLE_VERITY, SET_ENCRYPTION):
		    refused(errno.ENOTTY, fcntl.ioctl, file, request, bytes(128))
		RWF_ATOMIC, RWF_DONTCACHE = 0x40, 0x80
		for flag in (RWF_ATOMIC, RWF_DONTCACHE):
		    refused(errno.EOPNOTSUPP, os.pwritev, file, [bytes(4096)], 0, flag)
		WRITE_ZEROES = 0x80
		refused(errno.EOPNOTSUPP, call, libc.fallocate, file, WRITE_ZEROES, ctypes.c_long(0), ctypes.c_long(4096))
		GETINFO = 0x800005 << 8
		refused(errno.ENOSYS, call, libc.quotactl, ctypes.c_int(GETINFO & 0xffffffff), os.fsencode(sys.argv[1]), 0, bytes(256))
	END
}

begin 6
require_ns "$KIND"
check "labels" with_undo labels
check "owners of blocks" with_undo maps
require mendfs_on "$NS"
cd $MNT || exit
on_exit cd /
check "owners of blocks in xfs_io" mapped_by_xfs_io
check "direct I/O with any alignment" alignment
check "missing features" absent
cd / || exit
require unmount
check "an interrupted change of the label" with_undo label_interrupted
finish
