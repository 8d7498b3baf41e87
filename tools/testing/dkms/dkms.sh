#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The package daxmf-dkms, by DKMS itself: against headers with Rust metadata, and without.
#
#   RUNTIME=SECONDS	have the metadata made from linux-source, too, which takes minutes

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

release=$(<"$kernel/release")
version=1.0
root_options+=(--bind "$work" "$work")

package()
{
	mkdir "$work/dkms" && VERSION=$version "$top/scripts/deb" && in_root dpkg -x "$top/build/deb/daxmf-dkms_${version}_all.deb" "$work/fs"
}

# dkms WORD... -- of DKMS, with folders of the test's.
dkms()
{
	in_root dkms "$@" --dkmstree "$work/dkms" --sourcetree "$work/fs/usr/src" -m daxmf -v $version
}

build() # headers
{
	local module
	dkms build -k "$release" --kernelsourcedir "$1" --force || {
		tail -n 20 "$work/dkms/daxmf/$version/build/make.log"
		return 1
	}
	for module in daxmf daxmf_pmem daxmf_stack mendfs; do
		in_root modinfo -F vermagic "$work/dkms/daxmf/$version/$release/x86_64/module/$module.ko"* |
			grep "^$release " || return
	done
}

# As Debian's headers packages have it.
bare_headers()
{
	mkdir -p "$work/linux-headers-$release/include" &&
		cp "$kernel"/tree/{.config,Module.symvers,Makefile} "$work/linux-headers-$release" &&
		cp -r "$kernel/tree/include/config" "$work/linux-headers-$release/include"
}

# The kernel is left out, which is no error of an update.
no_metadata()
{
	local said status=0
	said=$(in_root "$work/fs/usr/src/daxmf-$version/scripts/dkms" check "$release" \
		"$work/linux-headers-$release" 2>&1) || status=$?
	echo "$said"
	[ $status = 77 ] && [ "$(wc -l <<<"$said")" = 1 ] &&
		[[ $said == *"apt install linux-source-${release%.*}" ]] || return
	status=0
	dkms build -k "$release" --kernelsourcedir "$work/linux-headers-$release" || status=$?
	[ $status = 77 ]
}

made_metadata()
{
	local root_options=("${root_options[@]}" --bind "$work/src" /usr/src)
	mkdir "$work/src" && cp -r "$(root_dir)/fs/usr/src/." "$work/src" &&
		ln -s "$kernel"/source/linux-source-*.tar.xz "$work/src" &&
		build "$work/linux-headers-$release"
}

ktap_print_header
ktap_set_plan 4
check "the package is made" package
check "headers without Rust metadata: what is missing is said, and the kernel left out" \
	eval "bare_headers && no_metadata"
check "headers with Rust metadata" build "$kernel/tree"
if [ -n "${RUNTIME-}" ]; then
	check "metadata made from linux-source" made_metadata
else
	ktap_test_skip "metadata made from linux-source: it takes minutes, set RUNTIME=1"
fi
ktap_finished
