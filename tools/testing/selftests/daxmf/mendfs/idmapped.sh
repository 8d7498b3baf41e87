#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Mounts that map the owners of files, as containers have them.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

MAPPED=/mnt/mapped

# as UID COMMAND... -- run the command as this user, with the group of the same number only.
as() {
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}

# owned ID FILE... -- check that the user and the group of the files have this ID in the filesystem,
# and the mapped ID in the idmapped mount.
owned() {
	local file

	for file in "${@:2}"; do
		is stat -c %u:%g "$file" "$1:$1" &&
			is stat -c %u:%g "$MAPPED/$file" "$((100000 + $1)):$((100000 + $1))" || return
	done
}

shown() {
	touch old && chown 7:7 old && owned 7 old && owned 0 . &&
		fails_with "Permission denied" as 7 sh -c "echo >>$MAPPED/old" &&
		as 100007 sh -c "echo >>$MAPPED/old"
}

# Inodes of all kinds are created, also by O_TMPFILE.
created() {
	as 100005 sh -c "cd $MAPPED && touch file && mkdir folder && ln -s file link && mkfifo fifo" &&
		owned 5 file folder link fifo && as 100005 python3 - <<-END &&
			import os
			file = os.open("$MAPPED", os.O_TMPFILE | os.O_RDWR, 0o666)
			os.link(f"/proc/self/fd/{file}", "$MAPPED/named", src_dir_fd=file)
		END
		owned 5 named && fails_with "Value too large" as 5 touch $MAPPED/none && [ ! -e none ]
}

changed() {
	chown 100008:100008 $MAPPED/file && owned 8 file &&
		fails_with "Value too large" chown 8 $MAPPED/file && owned 8 file &&
		as 100008 chmod 600 $MAPPED/file && fails_with "not permitted" as 8 chmod 644 $MAPPED/file &&
		setfacl -m u:100009:r $MAPPED/file && getfacl -n file | grep -x "user:9:r--" &&
		getfacl -n $MAPPED/file | grep -x "user:100009:r--"
}

kept() {
	umount $MAPPED && remount && is stat -c %u:%g old 7:7 && is stat -c %u:%g folder 5:5 &&
		is stat -c %u:%g file 8:8 && getfacl -n file | grep -x "user:9:r--"
}

begin 4
require_ns "$KIND"
require mendfs_on "$NS"
mkdir -p $MAPPED
chmod 777 $MNT
require mount --bind -o X-mount.idmap=b:0:100000:1000 $MNT $MAPPED
on_exit sh -c "umount $MAPPED 2>/dev/null || :"
cd $MNT || exit
on_exit cd /
check "owners are mapped" shown
check "owners of new inodes" created
check "changes of owners and access control lists" changed
check "owners are on the media" kept
finish
