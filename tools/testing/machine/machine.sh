#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Test the packages on a Debian machine with XFS on LVM on an NVDIMM, as an administrator does: install
# the packages, reboot, let memory fail, upgrade and purge the packages. The machine contains nothing else
# of this project. QEMU's guest agent runs the commands.
#
# shellcheck disable=SC2016 # a shell in the machine expands them

# shellcheck source=tools/testing/on-host.sh
. "$(dirname "$0")/../on-host.sh"
# shellcheck source=scripts/cpu.sh
. "$top/scripts/cpu.sh"

here=$top/tools/testing/machine
host=$top/build/machine
release=$(<"$kernel/release")
modules=daxmf-modules-$release
# The process group of QEMU, and its monitor.
vm='' monitor=''
cpu=() disk=''
# The limit of each wait, in seconds.
LIMIT=900
# An emulated processor is too slow for systemd's own limits, and needs seconds to start a unit. The
# machine does without a login and without the search for snapshots of ext4.
systemd_parameters=(
	"systemd.default_device_timeout_sec=$LIMIT" "systemd.default_timeout_start_sec=$LIMIT"
	systemd.mask=getty.target systemd.mask=e2scrub_reap.service)

finish()
{
	[ -z "$vm" ] || stop_groups "$vm"
	rm -rf "$work"
}
trap finish EXIT

# Boot the machine, and wait until it is up.
boot()
{
	rm -f "$host/agent"
	set -m
	in_root timeout 1800 qemu-system-x86_64 "${cpu[@]}" -smp 1 -machine q35,nvdimm=on \
		-m 1536M,slots=4,maxmem=8G -nodefaults -no-user-config -display none -no-reboot \
		-serial "file:$host/console" -device virtio-rng-pci \
		-drive "file=$host/disk,if=virtio,format=qcow2,cache=unsafe" \
		-drive "file=$host/packages,if=virtio,format=raw,readonly=on" \
		-device virtio-serial-pci \
		-chardev "socket,id=agent,path=$host/agent,server=on,wait=off" \
		-device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
		-chardev stdio,id=monitor,signal=off -mon chardev=monitor \
		-object "memory-backend-file,id=nvdimm,share=on,align=2M,mem-path=$host/nvdimm,size=512M" \
		-device nvdimm,memdev=nvdimm,id=dimm0 \
		-kernel "$disk/vmlinuz" -initrd "$disk/initrd.img" \
		-append "root=/dev/vda console=ttyS0 ${cpu_parameters[*]} ${systemd_parameters[*]}" \
		<"$host/monitor" >"$host/qemu" 2>&1 &
	vm=$!
	set +m
	until_true is_up || { tail -n 20 "$host/console" "$host/qemu"; return 1; }
}

# The agent runs and the boot has ended. 'degraded': units that are not of this project may fail.
is_up()
{
	local state
	state=$(in_root timeout 60 "$here/agent" "$host/agent" /usr/bin/systemctl is-system-running)
	[ "$state" = running ] || [ "$state" = degraded ]
}

# in_machine COMMAND...: run a command in the machine.
in_machine()
{
	in_root "$here/agent" "$host/agent" /usr/bin/env LANG=C "$@"
}

# Run a shell script in the machine.
sh_in_machine() # text
{
	in_machine sh -c "$1"
}

until_true() # command...
{
	local end=$((SECONDS + LIMIT))
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ] || ! kill -0 "$vm"; then
			echo "'$*' did not succeed within $LIMIT s:"
			"$@"
			return 1
		fi
		sleep 1
	done
}

# Reboot the machine, and wait until it is up.
reboot()
{
	in_machine systemctl --no-block reboot
	wait "$vm"
	vm=''
	boot
}

# prints WORDS COMMAND...
prints()
{
	local output
	output=$("${@:2}" 2>&1) || { echo "$output"; return 1; }
	[[ $output == *"$1"* ]] || {
		echo "'${*:2}' does not print '$1':"
		echo "$output"
		return 1
	}
}

driver()
{
	sh_in_machine 'basename $(readlink /sys/block/pmem0/device/driver)'
}

# Print the files of the machine, without caches, logs and temporary files.
files_of_machine()
{
	sh_in_machine 'find / -xdev ! -path "/var/lib/dpkg/*" ! -path "/var/lib/apt/*" ! -path "/var/cache/*" \
		! -path "/var/log/*" ! -path "/tmp/*" ! -path "/var/tmp/*" ! -path "/var/lib/systemd/*" | sort'
}

# Boot, and set the server up with nd_pmem.
set_up_server()
{
	boot && sh_in_machine 'set -e
		udevadm settle
		ndctl create-namespace -f -e namespace0.0 -m fsdax >/dev/null
		udevadm settle
		vgcreate -q vg /dev/pmem0
		lvcreate -q -y -n srv -l 100%FREE vg
		mkfs.xfs -q /dev/vg/srv
		echo "/dev/vg/srv /srv xfs dax=always 0 2" >>/etc/fstab
		systemctl daemon-reload
		mount /srv
		head -c 65536 /dev/urandom >/srv/table
		sync' && is driver nd_pmem && files_of_machine >"$work/before"
}

install_packages()
{
	prints "daxmf: nd_pmem drives the persistent memory until the next boot" \
		sh_in_machine "mount -o ro /dev/vdb /mnt && apt-get install -y /mnt/1/*.deb 2>&1" &&
		is in_machine cat /run/reboot-required.pkgs "$modules" && is driver nd_pmem &&
		sh_in_machine 'echo "TRIGGER_DIR=/usr/share/daxmf" >>/etc/default/rasdaemon
			echo "MEM_FAIL_TRIGGER=mem_fail_trigger" >>/etc/default/rasdaemon'
}

reboot_with_daxmf()
{
	reboot && is driver daxmf_pmem && is in_machine findmnt -no FSTYPE /srv xfs &&
		is in_machine systemctl is-active daxmf-monitor active &&
		prints "dm-0" in_machine daxmf stack list && in_machine daxmf status
}

# Print the physical address of the first page of a file, from the output of the system's own tools.
address()
{
	sh_in_machine 'start=$(cat /sys/bus/nd/devices/pfn0.*/resource | grep -v "^0x0*$" | head -n 1)
		lv=$(dmsetup table vg-srv | cut -d" " -f5)
		block=$(xfs_io -c "fiemap -v" /srv/table | sed -nE "s/^ *0: [^ ]+ +([0-9]+)\.\..*/\1/p")
		printf "%#x\n" $((start + (lv + block) * 512))'
}

# A process maps the file.
is_mapped()
{
	sh_in_machine 'grep -l /srv/table /proc/[0-9]*/maps'
}

is_not_mapped()
{
	! is_mapped
}

is_in_journal()
{
	in_machine journalctl -q -t daxmf DAXMF_EVENT=failure DAXMF_OUTCOME=delivered | grep pmem0
}

# A machine check kills a process that maps the file.
fail_memory()
{
	sh_in_machine 'echo 1 >/proc/sys/vm/memory_failure_early_kill
		systemd-run -q --unit=victim sh -c "
			(echo mmap -r 0 64k; echo mread 0 64k; exec sleep 1000) | exec xfs_io /srv/table"' &&
		until_true is_mapped || return
	echo "mce -b 0 9 0xbd000000000000cf 0x5 $(address) 0x8c" >&"$monitor"
	until_true is_not_mapped && until_true is_in_journal
}

# Only the trigger of rasdaemon writes names of files to the journal.
is_reported_by_rasdaemon()
{
	until_true sh_in_machine 'journalctl -q -t daxmf -o cat | grep "file .* /srv/table"' &&
		until_true sh_in_machine 'journalctl -q -u rasdaemon | grep "dax page.*Recovered"'
}

is_reported_by_daxmf()
{
	prints "/srv/table" in_machine daxmf owners /dev/vg/srv && prints "/srv/table" in_machine daxmf owners pmem0 &&
		prints "pmem0 has bad memory" in_machine daxmf status &&
		prints "outcome=delivered" in_machine daxmf events &&
		sh_in_machine '! cat /srv/table >/dev/null' && in_machine journalctl -q -t daxmf -o short
}

failures_in_journal()
{
	sh_in_machine 'journalctl -q -t daxmf DAXMF_EVENT=failure DAXMF_DISK=pmem0 -o cat | wc -l'
}

upgrade_packages()
{
	local failures
	failures=$(failures_in_journal) &&
		prints "daxmf: the loaded modules stay in use until the next boot" \
			sh_in_machine "mount -o ro /dev/vdb /mnt && apt-get install -y /mnt/2/*.deb 2>&1" &&
		is in_machine cat /run/reboot-required.pkgs "$modules" &&
		is in_machine modinfo -F signer daxmf_pmem owner &&
		until_true is in_machine systemctl is-active daxmf-monitor active &&
		is failures_in_journal "$failures"
}

purge_packages()
{
	prints "daxmf: the loaded modules stay in use until the next boot" \
		in_machine apt-get purge -y daxmf "$modules" && reboot && is driver nd_pmem &&
		is in_machine findmnt -no FSTYPE /srv xfs
}

leaves_no_files()
{
	files_of_machine | comm -13 "$work/before" - >"$work/left"
	cat "$work/left"
	[ ! -s "$work/left" ]
}

make_key()
{
	in_root openssl req -quiet -new -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=owner \
		-keyout "$host/mok.key" -out "$host/mok.pem" &&
		in_root openssl x509 -in "$host/mok.pem" -outform DER -out "$host/mok.pub"
}

build()
{
	cpu_options "$("$top/scripts/accel")"
	disk=$("$here/disk") || return
	rm -rf "$host"
	mkdir -p "$host/debs"/{1,2}
	mkfifo "$host/monitor" && exec {monitor}<>"$host/monitor" || return
	"$top/scripts/deb" && cp "$top"/build/deb/daxmf{_,-modules}*.deb "$host/debs/1" && make_key &&
		VERSION=99 MOK_KEY=$host/mok.key MOK_CERT=$host/mok.pub "$top/scripts/deb" &&
		cp "$top"/build/deb/daxmf{_,-modules}*.deb "$host/debs/2" &&
		in_root lintian --fail-on error --allow-root "$top"/build/deb/*.deb &&
		in_root qemu-img create -q -f qcow2 -b "$disk/disk" -F raw "$host/disk" &&
		truncate -s 512M "$host/nvdimm" "$host/packages" &&
		in_root mke2fs -q -t ext4 -d "$host/debs" "$host/packages"
}

# Run a case that needs the state of the previous ones.
then_check() # name, command...
{
	if [ "$KTAP_CNT_FAIL" = 0 ]; then
		check "$@"
	else
		ktap_test_skip "$1: an earlier case has failed"
	fi
}

ktap_print_header
ktap_set_plan 10
then_check "the packages are made, and lintian finds no errors" build
then_check "a server with XFS on LVM on persistent memory" set_up_server
then_check "apt install" install_packages
then_check "after a reboot daxmf_pmem drives the memory, and volumes are attached" reboot_with_daxmf
then_check "a machine check kills the process, and is in the journal" fail_memory
then_check "status, events and owners report the failure and the file" is_reported_by_daxmf
then_check "rasdaemon's trigger reports the file" is_reported_by_rasdaemon
then_check "an upgrade" upgrade_packages
then_check "purge: nd_pmem drives the memory after a reboot" purge_packages
then_check "purge leaves no files" leaves_no_files
ktap_finished
