# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The emulated processor of a virtual machine, and the kernel parameters for it.

# cpu_options kvm|tcg|icount: store QEMU's options in the array cpu.
# shellcheck disable=SC2034 # for the caller
cpu_options()
{
	local slow=
	case $1 in
	kvm) cpu=(-accel kvm) ;;
	# All processors run in one thread. With a thread for each processor, QEMU can keep a stale
	# translation of code that another processor writes to. A kernel that patches itself then
	# hits a removed breakpoint and crashes ("Oops: int3"), see Documentation/lab.rst.
	tcg)
		cpu=(-accel "tcg,thread=single")
		# QEMU emulates FSRM byte by byte, and the CRC of SSE 4.2 bit by bit: a guest
		# without this CRC takes 7 % less time. ERMS stays, because without ERMS
		# copy_mc_to_kernel() is memcpy(), and a machine check in memcpy() is an oops.
		slow=,fsrm=off,fsrs=off,fzrm=off,sse4.2=off
		;;
	# The guest's clock counts instructions.
	icount) cpu=(-accel "tcg,thread=single" -icount "shift=0,sleep=off") ;;
	esac
	# Emulate a Xeon: on an AMD processor the machine checks of host-mce panic the kernel, and
	# an older Intel processor cannot broadcast them. Five levels of page tables are off (la57),
	# because with them KASAN reports wild accesses of an interrupt that comes while the kernel
	# identifies the processor.
	cpu+=(-cpu "max,vendor=GenuineIntel,family=6,model=85,stepping=7,la57=off$slow")
}

# mce			emulated processors have 30 s (in microseconds) to meet in a machine check
# mitigations		they make system calls 4 times slower under emulation
# lpj, no_timer_check	if the host is too busy to deliver the guest's timer in time, the
#			calibration of the delay loop never ends, and the kernel decides that the
#			timer does not work
# shellcheck disable=SC2034 # for the caller
cpu_parameters=(mce=30000000 mitigations=off lpj=10000000 no_timer_check)
