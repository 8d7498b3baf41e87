#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Flags of files and directories, as chattr sets them, before and after a mount.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

DENIED="Operation not permitted"

# flags FILE -- print the flags that are set.
flags() {
	lsattr -d "$1" | sed 's/ .*//; s/-//g'
}

kept() {
	touch kept && mkdir folder && chattr +d kept && chattr +dA folder && is flags kept d &&
		is flags folder dA && chattr +A kept && chattr -d folder && remount &&
		is flags kept dA && is flags folder A && chattr -dA kept && remount && is flags kept "" &&
		touch folder/new && is flags folder/new ""
}

# Changes of an immutable file and of its names fail. After the flag is cleared, the file can be
# removed.
immutable() {
	mkdir full && fill full/file 4 && touch full/other && chattr +i full/file &&
		is flags full/file i && remount && same_except full/file -1 || return
	fails_with "$DENIED" dd if=/dev/zero of=full/file count=1 conv=notrunc &&
		fails_with "$DENIED" truncate -s 0 full/file && fails_with "$DENIED" rm -f full/file &&
		fails_with "$DENIED" mv full/file full/moved && fails_with "$DENIED" ln full/file full/link &&
		fails_with "$DENIED" chmod 600 full/file && fails_with "$DENIED" touch full/file &&
		fails_with "$DENIED" setfattr -n user.a -v b full/file &&
		fails_with "$DENIED" mv full/other full/file && chattr +i full &&
		fails_with "$DENIED" touch full/new && fails_with "$DENIED" rm -f full/other &&
		fails_with "$DENIED" rmdir full && chattr -i full full/file && rm -r full
}

append_only() {
	echo one >log && chattr +a log && is flags log a && remount && echo two >>log && sync log &&
		is cat log $'one\ntwo' && fails_with "$DENIED" sh -c 'echo three >log' &&
		fails_with "$DENIED" truncate -s 0 log && fails_with "$DENIED" rm -f log &&
		fails_with "$DENIED" fallocate -p -l 4096 log &&
		mkdir drop && chattr +a drop && touch drop/new && fails_with "$DENIED" rm -f drop/new &&
		chattr -a log drop && rm -r log drop
}

# age FILE -- set an old access time, read the file, and print the access time.
age() {
	touch -a -d @1000000000 "$1" && cat "$1" >/dev/null && stat -c %X "$1"
}

access_times() {
	mount -o remount,strictatime $MNT && touch read && [ "$(age read)" -gt 1000000000 ] &&
		chattr +A read && is age read 1000000000 && chattr -A read &&
		[ "$(age read)" -gt 1000000000 ] && mount -o remount,relatime $MNT
}

# attributes FILE -- print the attributes of statx(): the set ones, and the mask of supported ones.
attributes() {
	xfs_io -r -c 'statx -r' "$1" |
		sed -n 's/stat.attributes_mask = //p; s/stat.attributes = //p' | paste -sd' '
}

# bits MASK VALUE FILE -- check that the attributes in MASK are supported, and have this value.
bits() {
	local set mask

	read -r set mask <<<"$(attributes "$3")"
	if [ $((mask & $1)) != $(($1)) ] || [ $((set & $1)) != $(($2)) ]; then
		fail "attributes $set of $mask"
	fi
}

shown() {
	touch shown && bits 0x70 0 shown && chattr +d shown && bits 0x70 0x40 shown && chattr +i shown &&
		bits 0x70 0x50 shown && chattr -di shown && chattr +a shown && bits 0x70 0x20 shown &&
		chattr -a shown && bits 0x70 0 shown
}

refused() {
	touch refused && chmod 666 refused && fails_with "Operation not supported" chattr +c refused &&
		fails_with "Operation not supported" chattr +S refused &&
		fails_with "Operation not supported" xfs_io -c 'chproj 7' refused &&
		fails_with "Operation not supported" xfs_io -c 'extsize 65536' refused &&
		fails_with "$DENIED" setpriv --reuid 1000 --clear-groups chattr +d refused &&
		chown 1000 refused && setpriv --reuid 1000 --clear-groups chattr +d refused &&
		fails_with "$DENIED" setpriv --reuid 1000 --clear-groups chattr +i refused &&
		is flags refused d
}

begin 6
require_ns "$KIND"
require mendfs_on "$NS"
cd $MNT || exit
on_exit cd /
check "flags are kept" kept
check "immutable files" immutable
check "append-only files" append_only
check "access times that are not updated" access_times
check "flags in statx()" shown
check "other flags are refused, and users without permission too" refused
finish
