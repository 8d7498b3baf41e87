# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The processor of a virtual machine, and what its kernel must be told about it.

# cpu_options kvm|tcg|icount: QEMU's options, into the array cpu.
# shellcheck disable=SC2034 # for the caller
cpu_options()
{
	local slow=
	case $1 in
	kvm) cpu=(-accel kvm) ;;
	# All processors in one thread. With one for each, QEMU may keep its
	# translation of code that another processor is just writing to: a
	# kernel that patches itself then dies of a breakpoint that is not there
	# any more ("Oops: int3"), see Documentation/lab.rst.
	tcg)
		cpu=(-accel "tcg,thread=single")
		# QEMU copies by FSRM byte by byte, and makes a CRC bit by bit:
		# a guest takes 7 % less time without the latter alone. ERMS stays,
		# for without it copy_mc_to_kernel() is memcpy(), and a machine
		# check in it is the end.
		slow=,fsrm=off,fsrs=off,fzrm=off,sse4.2=off
		;;
	# The guest's clock counts instructions.
	icount) cpu=(-accel "tcg,thread=single" -icount "shift=0,sleep=off") ;;
	esac
	# A Xeon: an AMD processor would panic on the machine checks
	# that host-mce injects, an older Intel cannot broadcast them.
	# With five levels of page tables, KASAN calls the accesses of an
	# interrupt wild that comes while the processor is identified.
	cpu+=(-cpu "max,vendor=GenuineIntel,family=6,model=85,stepping=7,la57=off$slow")
}

# Parameters of the kernel. Emulated processors may take long to meet in a machine check (microseconds),
# and mitigations make system calls 4 times slower there. If the host is too busy to deliver the
# guest's timer in time, calibrating the delay loop never ends, and the kernel finds that the timer
# does not work: give lpj, and skip the check.
# shellcheck disable=SC2034 # for the caller
cpu_parameters=(mce=30000000 mitigations=off lpj=10000000 no_timer_check)
