# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Functions to prepare a kernel tree from the packages of a kernel, and to build modules against it.
# scripts/dkms uses this file without lib.sh.

unpack_source() # unpacked packages, tree
{
	mkdir "$2"
	tar -x -C "$2" --strip-components=1 -f "$1"/usr/src/linux-source-*.tar.xz
}

prepare_tree() # unpacked packages, tree
{
	local headers release version gcc
	headers=$(echo "$1"/usr/src/linux-headers-*-amd64)
	release=${headers##*/linux-headers-}
	unpack_source "$1" "$2"
	cp "$headers/.config" "$headers/Module.symvers" "$2"
	version=${release%%[-+]*}
	gcc=$(gcc_of_config "$headers/.config") || return
	make -C "$2" -j"$(nproc)" CC="$gcc" KERNELVERSION="$version" \
		LOCALVERSION="${release#"$version"}" olddefconfig prepare modules_prepare
	same_config "$headers/.config" "$2/.config"
	same_release "$release" "$2"
}

same_release() # release, tree
{
	local made
	made=$(cat "$2/include/config/kernel.release")
	[ "$made" = "$1" ] || {
		echo "the tree is of kernel $made, not $1"
		return 1
	}
}

# Check that the tree has the kernel's configuration. With another configuration the modules would
# not load, or would crash, because the layout of structures depends on options. Kconfig drops an
# option if a tool that it needs is missing, such as pahole.
same_config() # of the kernel, of the tree
{
	local changed
	changed=$(diff "$1" "$2" | grep '^[<>]' |
		grep -v -e CONFIG_BUILD_SALT -e CONFIG_MODULE_SIG_ -e CONFIG_SYSTEM_TRUSTED_KEYS) ||
		return 0
	echo "the tree's configuration differs from the kernel's:"
	echo "$changed"
	return 1
}

# Print the gcc that a kernel was built with. Kernels before 7.3 have the text in quotes.
gcc_of_config() # configuration
{
	local name
	name=$(sed -nE 's/^CONFIG_CC_VERSION_TEXT="?([^ "]+) .*/\1/p' "$1")
	[ -n "$name" ] || die "$1 does not say which compiler the kernel was built with"
	echo "$name"
}

# Print the compiler that the tree was configured for, as an argument of make, because kbuild does
# not store this argument.
compiler() # kernel tree
{
	local conf=$1/include/config/auto.conf name
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$conf"; then
		echo LLVM=1
		return
	fi
	name=$(gcc_of_config "$conf") || return
	echo "CC=$name"
}

make_modules() # kernel tree, make argument...
{
	local compiler
	compiler=$(compiler "$1") || return
	# No BTF for modules, because it needs the kernel's vmlinux.
	make -C "$1" -j"$(nproc)" "$compiler" CONFIG_DEBUG_INFO_BTF_MODULES= modules "${@:2}"
}
