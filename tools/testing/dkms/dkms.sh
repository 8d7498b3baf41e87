#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Test the package daxmf-dkms with DKMS: against headers with Rust metadata, and without.
#
#   RUNTIME=SECONDS	any value: also make the metadata from linux-source, which takes minutes

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

release=$(<"$kernel/release")
version=1.0
root_options+=(--bind "$work" "$work")

make_package()
{
	mkdir "$work/dkms" && VERSION=$version "$top/scripts/deb" && in_root dpkg -x "$top/build/deb/daxmf-dkms_${version}_all.deb" "$work/fs"
}

# dkms WORD...: run DKMS with folders of this test.
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

# Make headers without Rust metadata, like those of Debian's packages.
make_bare_headers()
{
	mkdir -p "$work/linux-headers-$release/include" &&
		cp "$kernel"/tree/{.config,Module.symvers,Makefile} "$work/linux-headers-$release" &&
		cp -r "$kernel/tree/include/config" "$work/linux-headers-$release/include"
}

# DKMS skips the kernel, so that an update does not fail.
skips_kernel()
{
	local output status=0
	output=$(in_root "$work/fs/usr/src/daxmf-$version/scripts/dkms" check "$release" \
		"$work/linux-headers-$release" 2>&1) || status=$?
	echo "$output"
	[ $status = 77 ] && [ "$(wc -l <<<"$output")" = 1 ] &&
		[[ $output == *"apt install linux-source-${release%.*}" ]] || return
	status=0
	dkms build -k "$release" --kernelsourcedir "$work/linux-headers-$release" || status=$?
	[ $status = 77 ]
}

build_with_linux_source()
{
	local root_options=("${root_options[@]}" --bind "$work/src" /usr/src)
	mkdir "$work/src" && cp -r "$(root_dir)/fs/usr/src/." "$work/src" &&
		ln -s "$kernel"/source/linux-source-*.tar.xz "$work/src" &&
		build "$work/linux-headers-$release"
}

ktap_print_header
ktap_set_plan 4
check "the package is made" make_package
check "headers without Rust metadata: missing packages are reported, and the kernel is skipped" \
	eval "make_bare_headers && skips_kernel"
check "headers with Rust metadata" build "$kernel/tree"
if [ -n "${RUNTIME-}" ]; then
	check "metadata made from linux-source" build_with_linux_source
else
	ktap_test_skip "metadata made from linux-source: it takes minutes, set RUNTIME=1"
fi
ktap_finished
