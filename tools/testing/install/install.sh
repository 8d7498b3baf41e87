#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Test 'make install' and 'make modules_install', with folders of this test.

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"

# Run in the root, because the host may not have kmod.
root_options+=(--bind "$work" "$work")

install_to() # folder, prefix
{
	in_root make install "DESTDIR=$1" "PREFIX=$2"
}

# Check that scripts/install fails with these words. Not by make, which prints more lines.
refuses() # words, VARIABLE=VALUE..., argument...
{
	fails_with "$1" in_root env "${@:2:$#-3}" "$top/scripts/install" "${@: -2}"
}

# Print the files below a folder with their modes.
files()
{
	(cd "$1" && find . ! -type d -printf '%m %P\n' | LC_ALL=C sort -k 2)
}

everything="\
644 opt/x/lib/modprobe.d/daxmf_pmem.conf
644 opt/x/lib/systemd/system/daxmf-monitor.service
644 opt/x/lib/udev/rules.d/60-daxmf-events.rules
644 opt/x/lib/udev/rules.d/60-daxmf-stack.rules
644 opt/x/lib/udev/rules.d/61-mendfs.rules
755 opt/x/sbin/daxmf
755 opt/x/sbin/fsck.mendfs
755 opt/x/sbin/mendfs
755 opt/x/sbin/mkfs.mendfs
644 opt/x/share/bash-completion/completions/daxmf
644 opt/x/share/bash-completion/completions/fsck.mendfs
644 opt/x/share/bash-completion/completions/mendfs
644 opt/x/share/bash-completion/completions/mkfs.mendfs
644 opt/x/share/daxmf/daxmf.schema.json
755 opt/x/share/daxmf/mem_fail_trigger
644 opt/x/share/fish/vendor_completions.d/daxmf.fish
644 opt/x/share/fish/vendor_completions.d/fsck.mendfs.fish
644 opt/x/share/fish/vendor_completions.d/mendfs.fish
644 opt/x/share/fish/vendor_completions.d/mkfs.mendfs.fish
644 opt/x/share/man/man8/daxmf.8
644 opt/x/share/man/man8/fsck.mendfs.8
644 opt/x/share/man/man8/mendfs.8
644 opt/x/share/man/man8/mkfs.mendfs.8
644 opt/x/share/zsh/site-functions/_daxmf
644 opt/x/share/zsh/site-functions/_fsck.mendfs
644 opt/x/share/zsh/site-functions/_mendfs
644 opt/x/share/zsh/site-functions/_mkfs.mendfs"

installs_programs()
{
	install_to "$work/a" /opt/x && is files "$work/a" "$everything" &&
		install_to "$work/a" /opt/x && is files "$work/a" "$everything"
}

# Each program has a manual page, and runs.
programs_run()
{
	local program
	for program in "$work"/a/opt/x/sbin/*; do
		[ -s "$work/a/opt/x/share/man/man8/${program##*/}.8" ] &&
			in_root "$program" --version && in_root "$program" --help >/dev/null || return
	done
}

# Rules, units and the trigger call the installed programs.
rules_name_programs()
{
	local programs
	programs=$(grep -rhoE '[^"= ]*/sbin/[a-z.]+' "$work"/a/opt/x/{lib/udev,lib/systemd,share/daxmf} | sort -u)
	echo "$programs"
	[ "$(wc -w <<<"$programs")" = 2 ] || return
	for program in $programs; do
		[ -x "$work/a$program" ] || return
	done
	in_root udevadm verify "$work"/a/opt/x/lib/udev/rules.d/*
}

# Each shell has a completion for each program.
installs_completions()
{
	local to=$work/a/opt/x/share program
	for program in "$work"/a/opt/x/sbin/*; do
		program=${program##*/}
		# shellcheck disable=SC2016 # the other shell expands them
		in_root bash -c '. "$1" && complete -p "$2"' - \
			"$to/bash-completion/completions/$program" "$program" &&
			grep -qx "#compdef $program" "$to/zsh/site-functions/_$program" &&
			grep -q "^complete -c $program " "$to/fish/vendor_completions.d/$program.fish" || return
	done
	in_root env COMPLETE=bash "$work/a/opt/x/sbin/daxmf" | cmp - "$to/bash-completion/completions/daxmf" &&
		fails_with "COMPLETE=csh: invalid variant" in_root env COMPLETE=csh "$work/a/opt/x/sbin/daxmf"
}

# modprobe finds its file in the default folder.
modprobe_prefers_daxmf()
{
	local root_options=("${root_options[@]}" --bind "$work/f/usr/local" /usr/local)
	mkdir -p "$work/f/usr/local" && in_root make install DESTDIR="$work/f" &&
		in_root modprobe --showconfig | grep '^install nd_pmem .*modprobe -q daxmf_pmem'
}

refuses_prefix()
{
	refuses "PREFIX=opt: not an absolute path" DESTDIR="$work/b" PREFIX=opt programs '' &&
		refuses "udev rules cannot contain" DESTDIR="$work/b" PREFIX='/opt/a b' programs '' &&
		[ ! -e "$work/b" ]
}

# The folders of the root are read-only.
refuses_folder()
{
	refuses "do this as root, or name another folder with DESTDIR=" PREFIX=/usr/none programs '' &&
		refuses "do this as root, or name another folder with INSTALL_MOD_PATH=" \
			INSTALL_MOD_PATH=/usr/none modules stock
}

refuses_without_build()
{
	mkdir "$work/tree" && cp -r "$top/scripts" "$work/tree" &&
		fails_with "run 'make tools' first" in_root "$work/tree/scripts/install" programs &&
		fails_with "run 'make modules' first" in_root "$work/tree/scripts/install" modules stock &&
		fails_with "run 'make modules KERNEL=debug' first" in_root "$work/tree/scripts/install" modules debug &&
		fails_with "run 'make modules KDIR=/none' first" \
			in_root env KDIR=/none "$work/tree/scripts/install" modules own
}

# With a kernel in the folder modprobe finds the modules. Modules for tests are not installed.
installs_modules()
{
	local release lib
	release=$(<"$kernel/release") && lib=$work/d/lib/modules/$release && mkdir -p "$lib" &&
		cp "$kernel"/modules/modules.{order,builtin,builtin.modinfo} "$lib" &&
		ln -s "$kernel/modules/kernel" "$lib/kernel" &&
		in_root make modules_install KERNEL=stock INSTALL_MOD_PATH="$work/d" &&
		is files "$lib/updates" "\
644 daxmf.ko
644 daxmf_pmem.ko
644 daxmf_stack.ko
644 mendfs.ko" || return
	in_root modprobe -d "$work/d" -S "$release" --show-depends mendfs | grep -q 'updates/daxmf.ko'
}

# The folder of a package has no kernel, and its modules have no debug information.
installs_modules_of_package()
{
	local lib
	lib=$work/e/lib/modules/$(<"$kernel/release") &&
		in_root make modules_install KERNEL=stock INSTALL_MOD_PATH="$work/e" INSTALL_MOD_STRIP=1 &&
		is ls "$lib" updates &&
		[ $(($(stat -c %s "$lib/updates/mendfs.ko") * 2)) -lt \
			"$(stat -c %s "$top/build/stock/fs/mendfs/mendfs.ko")" ]
}

ktap_print_header
ktap_set_plan 10
check "make install: all files, twice" installs_programs
check "make install: each program runs, and has a manual page" programs_run
check "make install: rules call the programs" rules_name_programs
check "make install: shell completions" installs_completions
check "make install: modprobe prefers daxmf_pmem" modprobe_prefers_daxmf
check "make install: a wrong prefix is refused" refuses_prefix
check "make install: a folder that is not writable is refused" refuses_folder
check "install: fails before a build" refuses_without_build
check "make modules_install: modprobe finds the modules" installs_modules
check "make modules_install: for a package" installs_modules_of_package
ktap_finished
