#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Access control lists, before and after a mount.

KIND=${KIND:-memmap}
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# as UID COMMAND... -- run the command as this user, with the group of the same number only.
as() {
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}

# acl FILE -- print its access control list in one line.
acl() {
	getfacl -cnp "$1" | paste -sd, | sed 's/,*$//'
}

granted() {
	echo secret >file && chmod 600 file && fails_with "Permission denied" as 1000 cat file &&
		setfacl -m u:1000:r file && is as 1000 cat file secret &&
		fails_with "Permission denied" as 1001 cat file && is acl file "user::rw-,user:1000:r--,group::---,mask::r--,other::---" &&
		is stat -c %a file 640 && setfacl -m g:1001:rw file && as 1001 sh -c 'echo more >>file' &&
		fails_with "Permission denied" as 1000 sh -c 'echo more >>file' || return
	remount && is as 1000 head -n 1 file secret && as 1001 sh -c 'echo more >>file' &&
		fails_with "Permission denied" as 1002 cat file && setfacl -b file && is acl file "user::rw-,group::---,other::---" &&
		fails_with "Permission denied" as 1000 cat file &&
		fails_with "Operation not permitted" as 1000 setfacl -m u:1000:r file
}

# The mask is the group part of the mode: a change of the mask changes the mode, and vice versa.
masked() {
	touch masked && setfacl -m u:1000:rwx masked && chmod 640 masked && is stat -c %a masked 640 &&
		is acl masked "user::rw-,user:1000:rwx	#effective:r--,group::r--,mask::r--,other::---" &&
		setfacl -m m::x masked && is stat -c %a masked 610 && remount && is stat -c %a masked 610 &&
		is acl masked "user::rw-,user:1000:rwx	#effective:--x,group::r--	#effective:---,mask::--x,other::---"
}

# A list that is equivalent to the mode is not stored.
plain() {
	touch plain && setfacl -m u::rw,g::r,o::- plain && is stat -c %a plain 640 &&
		is getfattr -m - plain "" && setfacl -m u:1000:r plain &&
		is sh -c "getfattr -m - plain | grep -c posix_acl_access" 1 && setfacl -x u:1000,m plain &&
		is getfattr -m - plain ""
}

inherited() {
	local list="user::rwx,user:1000:rwx,group::r-x,mask::rwx,other::---"

	umask 077 && mkdir plainly && is stat -c %a plainly 700 && touch plainly/file &&
		is stat -c %a plainly/file 600 && mkdir parent && setfacl -d -m u:1000:rwx,u::rwx,g::rx,o::- parent &&
		mkdir parent/child && touch parent/file && mkfifo parent/fifo && ln -s file parent/link || return
	is stat -c %a parent/child 770 && is stat -c %a parent/file 660 && is stat -c %a parent/fifo 660 &&
		is acl parent/child "$list,default:${list//,/,default:}" &&
		is acl parent/file "user::rw-,user:1000:rwx	#effective:rw-,group::r-x	#effective:r--,mask::rw-,other::---" &&
		is stat -c %a parent/link 777 && remount && is acl parent/child "$list,default:${list//,/,default:}" &&
		fails_with "Only directories" setfacl -d -m u:1000:r parent/file && setfacl -k parent &&
		touch parent/later && is stat -c %a parent/later 600
	local status=$?

	umask 022
	return $status
}

# A file that O_TMPFILE creates inherits the default list.
nameless() {
	mkdir nameless && setfacl -d -m u:1000:rw,g::r nameless && python3 - <<-'END' &&
		import os
		file = os.open("nameless", os.O_TMPFILE | os.O_RDWR, 0o666)
		os.link(f"/proc/self/fd/{file}", "nameless/named", src_dir_fd=file)
	END
		is acl nameless/named "user::rw-,user:1000:rw-,group::r--,mask::rw-,other::r--"
}

# entries N -- print N entries for users.
entries() {
	seq -f 'u:%.0f:r' 2000 $((1999 + $1)) | paste -sd,
}

# A list is limited by the size of an attribute value. Four of its entries are for the mode and the
# mask.
long() {
	touch long && setfacl -m "$(entries 400)" long && is sh -c "getfacl -n long | grep -c user:2" 400 && remount &&
		is sh -c "getfacl -n long | grep -c user:2" 400 && as 2399 cat long &&
		fails_with "No space" setfacl -m "$(entries 600)" long &&
		is sh -c "getfacl -n long | grep -c user:2" 400
}

copied() {
	setfacl -m u:1000:r plain && cp -p plain copy && is acl copy "$(acl plain)" &&
		cp -p --reflink=always plain clone && is acl clone "$(acl plain)" && mkdir to && mv clone to/ &&
		is acl to/clone "$(acl plain)" && setfacl -b plain
}

begin 7
require_ns "$KIND"
require mendfs_on "$NS"
cd $MNT || exit
on_exit cd /
check "users and groups have the access that the list grants" granted
check "the mask" masked
check "a list that is equivalent to the mode" plain
check "new inodes inherit the list" inherited
check "a file without a name inherits" nameless
check "long lists" long
check "copies have the list" copied
finish
