#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Directories, links and attributes as POSIX specifies them, before and after a mount.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# With this secret of the filesystem, the names in COLLIDING have the same hash.
SECRET=000102030405060708090a0b0c0d0e0f
COLLIDING=(11517 22854)
COLLIDING_ATTRIBUTES=(user.35695 user.42055)

# renameat2 FROM TO FLAGS -- call renameat2() with these flags.
renameat2() {
	python3 - "$@" <<-'END'
		import ctypes, os, sys
		libc = ctypes.CDLL(None, use_errno=True)
		at = -100
		status = libc.renameat2(at, os.fsencode(sys.argv[1]), at, os.fsencode(sys.argv[2]), int(sys.argv[3]))
		if status:
		    sys.exit(os.strerror(ctypes.get_errno()))
	END
}

# picture -- print metadata, checksums and attributes of all files, sorted.
picture() {
	(
		cd $MNT || exit
		find . -printf '%P %y %m %U %G %n %s %T@ %i %l\n' | sort
		find . -type f -print0 | sort -z | xargs -0 sha256sum
		getfattr -R -d -m - . 2>/dev/null
	)
}

stays() {
	local before

	cd / && before=$(picture) && check_and_mount && cd $MNT || return
	is picture "$before"
}

make_tree() {
	mkdir -p a/b/c d && echo one >a/one && echo two >a/b/two && ln -s ../one a/b/link &&
		ln a/one d/hard && mkfifo d/fifo && mknod d/device c 1 3 &&
		chmod 2750 a/b && chown 12:34 a/one && touch -d 2001-02-03T04:05:06.789 a/b/two &&
		is stat -c %h d/hard 2 && is stat -c %h a 3 && is cat a/b/link one
}

many_names() {
	local i

	mkdir many && for i in {1..3000}; do echo "$i" >"many/a name, number $i"; done &&
		is sh -c 'ls many | wc -l' 3000 &&
		is cat "many/a name, number 2718" 2718 &&
		rm many/*[02468] && is sh -c 'ls many | wc -l' 1500
}

# positions DIRECTORY [START] -- print each name from the position START on, with the position that
# follows the name.
positions() {
	python3 - "$@" <<-'END'
		import ctypes, os, struct, sys
		libc = ctypes.CDLL(None, use_errno=True)
		directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
		if len(sys.argv) > 2:
		    os.lseek(directory, int(sys.argv[2]), os.SEEK_SET)
		buffer = ctypes.create_string_buffer(4096)
		while length := libc.getdents64(directory, buffer, 4096):
		    assert length > 0, os.strerror(ctypes.get_errno())
		    at = 0
		    while at < length:
		        position, size = struct.unpack_from("<qH", buffer.raw, at + 8)
		        name = buffer.raw[at + 19:at + size].split(b"\0")[0].decode("latin-1")
		        if name not in (".", ".."):
		            print(position, name)
		        at += size
	END
}

# A program can continue to read a directory from a position, also after a mount.
keeps_positions() {
	local middle

	positions many >"$TMP/before" && cd / && check_and_mount && cd $MNT &&
		positions many | diff - "$TMP/before" || return
	middle=$(sed -n 700p "$TMP/before") && [ "$(wc -l <"$TMP/before")" = 1500 ] &&
		positions many "${middle% a *}" | diff - <(sed 1,700d "$TMP/before")
}

# make_names DIRECTORY COUNT -- make files whose names all have the same CRC-32C.
make_names() {
	python3 - "$@" <<-'END'
		import os, sys
		table = []
		for i in range(256):
		    for _ in range(8):
		        i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
		    table.append(i)
		index = {entry >> 24: i for i, entry in enumerate(table)}

		def crc(text):
		    found = 0xffffffff
		    for byte in text:
		        found = found >> 8 ^ table[(found ^ byte) & 255]
		    return found

		# Four more bytes give a text any CRC.
		def made(text, wanted):
		    steps = []
		    for _ in range(4):
		        steps.append(index[wanted >> 24])
		        wanted = (wanted ^ table[steps[-1]]) << 8 & 0xffffffff
		    found = crc(text)
		    for step in reversed(steps):
		        text += bytes([(found ^ step) & 255])
		        found = found >> 8 ^ table[step]
		    return text

		os.chdir(sys.argv[1])
		n = left = int(sys.argv[2])
		while left:
		    name = made(b"%08d" % n, 0x12345678)
		    n += 1
		    if not {0, 10, 47} & set(name):
		        assert crc(name) == 0x12345678
		        os.close(os.open(name, os.O_CREAT))
		        left -= 1
	END
}

# The hash of names has a key, so names with the same CRC have different hashes.
spread() {
	local hashes

	mkdir spread && make_names spread 1000 && is sh -c 'ls spread | wc -l' 1000 || return
	hashes=$(positions spread | while read -r position _; do
		echo $((position >> 32))
	done | sort -u | wc -l)
	[ "$hashes" -ge 999 ] || fail "1000 names have $hashes hashes"
}

# hash_of NAME DIRECTORY -- print the hash of the name, a part of its position.
hash_of() {
	positions "$2" | while read -r position name; do
		[ "$name" != "$1" ] || echo $((position >> 32))
	done
}

same_hash() {
	local one=${COLLIDING[0]} other=${COLLIDING[1]} first

	mkdir same && echo one >"same/$one" && echo other >"same/$other" &&
		[ "$(hash_of "$one" same)" = "$(hash_of "$other" same)" ] ||
		fail "they have different hashes" || return
	# A read from the position after the first name returns the second one.
	first=$(positions same | head -n 1)
	positions same "${first%% *}" | diff - <(positions same | tail -n 1) || return
	setfattr -n "${COLLIDING_ATTRIBUTES[0]}" -v one same &&
		setfattr -n "${COLLIDING_ATTRIBUTES[1]}" -v other same && cd / && check_and_mount && cd $MNT &&
		is cat "same/$one" one && is cat "same/$other" other &&
		is getfattr --only-values -n "${COLLIDING_ATTRIBUTES[0]}" same one &&
		is getfattr --only-values -n "${COLLIDING_ATTRIBUTES[1]}" same other &&
		setfattr -x "${COLLIDING_ATTRIBUTES[0]}" same && rm "same/$one" &&
		is cat "same/$other" other && [ ! -e "same/$one" ] &&
		is getfattr --only-values -n "${COLLIDING_ATTRIBUTES[1]}" same other &&
		mv "same/$other" "same/$one" && is ls same "$one" && is cat "same/$one" other
}

long_names() {
	local name

	name=$(printf 'x%.0s' {1..255})
	touch "$name" && is stat -c %s "$name" 0 && rm "$name" &&
		fails_with "File name too long" touch "${name}x"
}

renames() {
	mkdir r r/full r/empty && echo from >r/from && echo to >r/to && touch r/full/x || return
	fails_with "File exists" renameat2 r/from r/to 1 &&
		renameat2 r/from r/to 2 && is cat r/from to && is cat r/to from &&
		renameat2 r/from r/full 2 && is cat r/full to && [ -e r/from/x ] &&
		fails_with "Directory not empty" renameat2 r/empty r/from 0 &&
		renameat2 r/from r/empty 0 && [ -e r/empty/x ] &&
		mv r/empty r/full2 && mkdir s && mv r/full2 s/ && is stat -c %h r 2 && is stat -c %h s 3 &&
		fails_with "Invalid argument" renameat2 s s/full2/s 0 &&
		mv -T r/to r/full && is cat r/full from
}

# overlayfs hides a name of its lower layer by RENAME_WHITEOUT, which makes the old name a device.
whiteouts() {
	local whiteout="character special file 0:0 1"

	mkdir w && echo one >w/one && echo other >w/other && ln w/one w/link &&
		renameat2 w/one w/moved 4 && is stat -c '%F %t:%T %h' w/one "$whiteout" &&
		is cat w/moved one && is stat -c %h w/moved 2 &&
		renameat2 w/moved w/other 4 && is stat -c '%F %t:%T %h' w/moved "$whiteout" &&
		is cat w/other one &&
		fails_with "File exists" renameat2 w/other w/one 5 &&
		fails_with "Invalid argument" renameat2 w/other w/one 6 &&
		mkdir w/a w/b && renameat2 w/a w/b/a 4 && is stat -c %h w 3 && is stat -c %h w/b 3 &&
		is stat -c '%F %t:%T %h' w/a "$whiteout"
}

# overlay COMMAND -- run the command in an overlay of two layers on mendfs.
overlay() {
	local status=0

	mkdir -p "$TMP/merged" && modprobe overlay && mount -t overlay overlay -o \
		"lowerdir=$MNT/o/lower,upperdir=$MNT/o/upper,workdir=$MNT/o/work" "$TMP/merged" || return
	(cd "$TMP/merged" && "$@") || status=1
	umount "$TMP/merged" && return $status
}

change_layers() {
	mv moved elsewhere && rm removed && rm -r directory && mkdir directory && echo more >>kept &&
		is sh -c 'echo *' "directory elsewhere kept" && is ls -A directory ""
}

layers_are_changed() {
	is sh -c 'echo *' "directory elsewhere kept" && is cat elsewhere moved && is ls -A directory "" &&
		is tail -n 1 kept more
}

layers() {
	mkdir -p o/lower/directory o/upper o/work && touch o/lower/directory/x || return
	echo moved >o/lower/moved && echo removed >o/lower/removed && echo kept >o/lower/kept &&
		overlay change_layers && overlay layers_are_changed && [ -c o/upper/moved ] &&
		[ -c o/upper/removed ] && is cat o/lower/moved moved &&
		! log_says "overlayfs: upper fs does not support" >/dev/null
}

# The VFS does not lock a directory that is renamed within its parent. Two processes run on one CPU.
# The process with the real-time priority interrupts the process that renames at a random point, and
# checks the link count later.
renamed_meanwhile() {
	python3 - <<-'END'
		import os, random, time
		os.sched_setaffinity(0, {0})
		os.makedirs("renamed/from")
		directory = os.open("renamed/from", os.O_RDONLY)
		other = os.fork()
		while other == 0:
		    os.rename("renamed/from", "renamed/to")
		    os.rename("renamed/to", "renamed/from")

		def has(change, links):
		    time.sleep(random.random() * 2e-4)
		    change("x", dir_fd=directory)
		    time.sleep(2e-5)
		    found = os.fstat(directory).st_nlink
		    assert found == links, f"{found} links after {change.__name__}, {i} times it was right"

		os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
		end = time.monotonic() + 30
		i = 0
		try:
		    while time.monotonic() < end:
		        has(os.mkdir, 3)
		        has(os.rmdir, 2)
		        i += 1
		finally:
		    os.kill(other, 9)
		    os.waitpid(other, 0)
	END
}

links() {
	local target

	target=$(printf 'y%.0s' {1..4000})
	ln -s "$target" long && is readlink long "$target" && rm long &&
		fails_with "File name too long" ln -s "$target$target" long &&
		fails_with "hard link not allowed" ln a/b hard || return
	# shellcheck disable=SC2016 # for the inner shell
	python3 -c 'import os; f = os.open(".", os.O_TMPFILE | os.O_RDWR); os.write(f, b"kept")
os.link(f"/proc/self/fd/{f}", "kept", src_dir_fd=f)' && is cat kept kept
}

attributes() {
	setfattr -n user.colour -v blue a/one && setfattr -n trusted.secret -v x a/one &&
		is getfattr --only-values -n user.colour a/one blue &&
		setfattr -n user.colour -v "$(printf 'z%.0s' {1..3000})" a/one &&
		is sh -c 'getfattr --only-values -n user.colour a/one | wc -c' 3000 &&
		setfattr -x trusted.secret a/one &&
		fails_with "No such attribute" getfattr -n trusted.secret --absolute-names a/one &&
		fails_with "No space left" setfattr -n user.big -v "$(printf 'z%.0s' {1..5000})" a/one
}

# A search among 4000 attributes takes about as long as a search among 20. The test compares the
# shortest of 20 times, because other work of the machine makes single times longer.
many_attributes() {
	python3 - <<-'END'
		import os, time
		counts = {"few": 20, "lots": 4000}
		for name, count in counts.items():
		    os.close(os.open(name, os.O_CREAT))
		    for n in range(count):
		        os.setxattr(name, f"user.{n}", b"%d" % n)
		best = {}
		for _ in range(20):
		    for name, count in counts.items():
		        start = time.monotonic()
		        for n in range(count - 20, count):
		            assert os.getxattr(name, f"user.{n}") == b"%d" % n
		        best[name] = min(best.get(name, 1), time.monotonic() - start)
		assert best["lots"] < 5 * best["few"], best
		assert len(os.listxattr("lots")) == 4000
		# A list that no program can get ends with an error, also if only its length is asked for.
		os.close(os.open("long", os.O_CREAT))
		for n in range(400):
		    os.setxattr("long", f"user.{n:0200}", b"")
		import ctypes, errno
		c = ctypes.CDLL(None, use_errno=True)
		assert c.listxattr(b"long", None, 0) == -1 and ctypes.get_errno() == errno.E2BIG
		os.unlink("long")
	END
}

# The new access time of a directory reaches the filesystem after the read, and must not overwrite
# later times.
times() {
	local future=4102444800

	mkdir future && touch -d @$future future && ls future && touch future/now &&
		[ "$(stat -c %Y future)" -lt $future ] &&
		touch -d @$future a/one && ln a/one future/ && is stat -c %Y a/one $future
}

unlinked() {
	exec 9>gone && echo still there >&9 && rm gone && is stat -L -c %h /proc/self/fd/9 0 &&
		is cat /proc/self/fd/9 "still there"
	local status=$?

	exec 9>&-
	return $status
}

# with_handles -- run the Python program on standard input, which can call handle().
with_handles() {
	{
		cat <<-'END'
			import ctypes, os
			AT, CONNECTABLE = -100, 2
			libc = ctypes.CDLL(None, use_errno=True)

			class Handle(ctypes.Structure):
			    _fields_ = [("bytes", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]

			def handle(name, flags=0):
			    found, mount = Handle(128), ctypes.c_int()
			    assert libc.name_to_handle_at(AT, name, ctypes.byref(found), ctypes.byref(mount), flags) == 0
			    return found

		END
		cat
	} | python3 -
}

# A handle finds its file until the inode is evicted, with or without a name.
handles() {
	touch handled && with_handles <<-'END'
		estale = 116

		def opened(handle):
		    file = libc.open_by_handle_at(AT, ctypes.byref(handle), os.O_RDONLY)
		    return ctypes.get_errno() if file < 0 else os.fstat(file).st_ino, file

		number = os.stat("handled").st_ino
		found = handle(b"handled")
		first, file = opened(found)
		os.unlink("handled")
		second, other = opened(found)
		assert first == second == number, (first, second, number)
		os.close(file)
		os.close(other)
		assert opened(found) == (estale, -1)
		os.close(os.open("handled", os.O_CREAT))
		assert opened(found) == (estale, -1)
	END
}

# A handle that contains the directory finds the file and its path when neither is cached.
connected_handles() {
	mkdir -p deep/er && touch deep/er/file && ln deep/er/file deep/other && with_handles <<-'END'
		def place(handle):
		    with open("/proc/sys/vm/drop_caches", "w") as caches:
		        caches.write("2")
		    file = libc.open_by_handle_at(AT, ctypes.byref(handle), os.O_RDONLY)
		    assert file >= 0, os.strerror(ctypes.get_errno())
		    path = os.readlink(f"/proc/self/fd/{file}")
		    os.close(file)
		    return path

		here = os.getcwd()
		for name in (b"deep/er/file", b"deep/other"):
		    found = handle(name, CONNECTABLE)
		    assert found.bytes == 24, found.bytes
		    assert place(found) == f"{here}/{os.fsdecode(name)}"
		found = handle(b"deep/er/file", CONNECTABLE)
		os.rename("deep/er/file", "deep/er/moved")
		assert place(found) == f"{here}/deep/er/moved"
	END
}

leases() {
	python3 - <<-'END'
		import fcntl, os
		file = os.open("leased", os.O_CREAT | os.O_RDONLY)
		fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
		assert fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_RDLCK
		fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
	END
}

all_free() {
	cd $MNT && rm -rf ./* && sync && is stat -f -c %f . "$(stat -f -c %b .)"
}

begin 20
require_ns "$KIND"
require mendfs_on "$NS" --secret $SECRET
cd $MNT || exit
on_exit cd /

check "directories, files, links and devices" make_tree
check "thousands of names in a directory" many_names
check "the order of a directory stays, also after a mount" keeps_positions
check "names with one CRC are spread over the directory" spread
check "names and attributes that have the same hash" same_hash
check "names of 255 bytes" long_names
check "renames, with NOREPLACE and EXCHANGE" renames
check "renames with WHITEOUT" whiteouts
check "the upper layer of overlayfs" layers
check "the link count of a directory during a rename" renamed_meanwhile
check "symbolic links, O_TMPFILE" links
check "extended attributes" attributes
check "a file with thousands of attributes" many_attributes
check "times of changes" times
check "a file without a name stays while it is open" unlinked
check "handles of files" handles
check "handles of files with their directories" connected_handles
check "leases" leases
check "all files are unchanged after a mount" stays
check "removed files leave no block allocated" all_free
finish
