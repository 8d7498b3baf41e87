# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Functions that all scripts share: messages, the cache, and the toolchain root.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/daxmf
# shellcheck source=scripts/versions
. "$top/scripts/versions"
export TOOLCHAIN=${TOOLCHAIN:-$SUITE}

say()
{
	echo "==> $*" >&2
}

die()
{
	echo "daxmf: $*" >&2
	exit 1
}

# milliseconds: print the time in milliseconds.
milliseconds()
{
	echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

# seconds_since START: print the seconds since START, a time in milliseconds, with one decimal.
seconds_since()
{
	local tenths=$((($(milliseconds) - $1) / 100))
	echo "$((tenths / 10)).$((tenths % 10)) s"
}

# Run a command. Print what the command does and how long it took. If the command fails, print the
# last lines of its output.
step() # what it does, command...
{
	local what=$1 log start status=0
	shift
	log=$(mktemp)
	start=$(milliseconds)
	printf '==> %s … ' "$what" >&2
	"$@" </dev/null >"$log" 2>&1 || status=$?
	if [ "$status" = 0 ]; then
		seconds_since "$start" >&2
	else
		echo "failed:" >&2
		tail -n 40 "$log" >&2
	fi
	rm -f "$log"
	return "$status"
}

hash_of()
{
	sha256sum | cut -c1-16
}

need_space() # GiB, for what
{
	local free
	mkdir -p "$cache"
	free=$(($(df --output=avail -k "$cache" | tail -n 1) >> 20))
	[ "$free" -ge "$1" ] ||
		die "$2 needs $1 GiB in $cache, $free GiB are free: make room, or set XDG_CACHE_HOME to a larger disk"
}

# Check that a release is OLDEST or newer.
is_supported() # release
{
	printf '%s\n' "$OLDEST" "$1" | sort -V -C
}

# Check a KERNEL or KVER: it must be a release as 'uname -r' prints it, from OLDEST on.
need_release() # variable, value
{
	[[ $2 =~ ^[0-9]+(\.[0-9]+)+(\+[a-z0-9]+)?(-[a-z]+)?-amd64$ ]] ||
		die "$1=$2: name a kernel of Debian as 'uname -r' prints it, such as $1=$KERNEL_RELEASE"
	is_supported "$2" || die "$1=$2: too old, choose $OLDEST or newer"
}

need_kernel() # value of KERNEL
{
	case $1 in
	stock | debug) ;;
	*-amd64) need_release KERNEL "$1" ;;
	*) die "KERNEL=$1: no such kernel, choose stock, debug, or one of Debian such as $OLDEST_RELEASE" ;;
	esac
}

mirror=${MIRROR:-http://deb.debian.org/debian}
need_mirror()
{
	local to status=0
	to=$(mktemp)
	/usr/lib/apt/apt-helper -o Acquire::Retries=0 \
		-o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 \
		download-file "$mirror/dists/$SUITE/InRelease" "$to" >/dev/null 2>&1 || status=$?
	rm -f "$to"
	[ "$status" = 0 ] ||
		die "$mirror: no answer from this Debian mirror, check the network, or name another with MIRROR=http://…/debian"
}

# Remove a directory. It may contain read-only folders and, after an interrupted
# mmdebstrap of an ordinary user, files of that user's subordinate ids.
remove_tree()
{
	[ -e "$1" ] || return 0
	chmod -R u+rwX "$1" 2>/dev/null || true
	rm -rf "$1" 2>/dev/null || unshare --map-root-user --map-auto rm -rf "$1"
}

# Remove the incomplete entries of killed runs: those whose lock is free.
sweep()
{
	local half lock
	for half in "$cache"/*.tmp; do
		[ -d "$half" ] || continue
		exec {lock}>"${half%.tmp}.lock"
		! flock -n "$lock" || remove_tree "$half"
		exec {lock}>&-
	done
}

# cached NAME BUILDER [ARG...]: make the cache entry NAME unless it exists.
# BUILDER gets the folder to fill as its last argument. A rename makes the entry
# visible, so readers never use an incomplete one. The lock makes a second run
# wait for the first.
cached()
{
	local entry=$cache/$1 lock
	shift
	[ ! -d "$entry" ] || return 0
	mkdir -p "$cache"
	sweep
	exec {lock}>"$entry.lock"
	if ! flock -n "$lock"; then
		say "waiting for another run that makes ${entry##*/}"
		flock "$lock"
	fi
	[ -d "$entry" ] || make_entry "$entry" "$@"
	exec {lock}>&-
}

# Make a cache entry, in a subshell with its own trap. half_made is global, because local variables
# of functions no longer exist when the trap runs after a failure.
make_entry() # entry, builder, argument...
(
	half_made=$1.tmp
	trap 'remove_tree "$half_made"' EXIT
	remove_tree "$half_made"
	mkdir "$half_made"
	"${@:2}" "$half_made"
	mv "$half_made" "$1"
)

# Run a command with the lock of a folder, because two builds in one folder would overwrite each
# other's files, and would read files that are half written.
with_lock() # folder, command...
{
	local lock
	mkdir -p "$1"
	exec {lock}>"$1.lock"
	if ! flock -n "$lock"; then
		say "waiting for another run that builds in $1"
		flock "$lock"
	fi
	"${@:2}"
	exec {lock}>&-
}

# Keep the cache entries NAME-* that were used last, and remove the others.
keep_newest() # name, number
{
	local entry
	find "$cache" -maxdepth 1 -type d -name "$1-*" ! -name '*.tmp' -printf '%T@ %p\n' |
		sort -rn | sed "1,$2d; s/^[^ ]* //" | while read -r entry; do
		remove_tree "$entry"
	done
}

# Print the packages of the root. The root of another suite (TOOLCHAIN) has only the packages that
# build modules. PACKAGES can name a file with further packages; a root with these is another root.
packages()
{
	local files=("$top/scripts/packages-modules")
	[ "$TOOLCHAIN" != "$SUITE" ] || files+=("$top/scripts/packages" ${PACKAGES:+"$PACKAGES"})
	sed "s/#.*//; /^\$/d; s/@GCC@/$(gcc_of "$TOOLCHAIN")/" "${files[@]}"
}

# Make a tar of a Debian system with the packages on standard input, without documentation. Do not
# check whether an index has expired, because the mirror can be a snapshot.
debian_tar() # mmdebstrap argument...
{
	local mode=unshare
	[ "$(id -u)" != 0 ] || mode=root
	mmdebstrap --quiet --mode="$mode" --include="$(paste -sd,)" \
		--aptopt='Apt::Install-Recommends "false"' \
		--aptopt='Acquire::Check-Valid-Until "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' "$@"
}

# Print the hash of everything that determines the contents of the root.
root_key()
{
	{ echo "$TOOLCHAIN"; packages; declare -f debian_tar
		sed -n '/^\s*#/d; /^bootstrap()/,/^}/p' "$top/scripts/root"; } | hash_of
}

# Print the root's folder, which scripts/root makes.
root_dir()
{
	echo "$cache/root-$(root_key)"
}

# Print the hash of the tools' versions. A kernel tree depends on these, and not on all packages.
toolchain_id()
{
	hash_of <"$(root_dir)/toolchain"
}

# in_root COMMAND...: run a command in the toolchain root, with the project and the cache
# at their own paths and without the host's environment. The array root_options has
# further options of bwrap. All mounts and processes end with bwrap.
root_options=()
in_root()
{
	local root ids=()
	root=$(root_dir)/fs
	# virtiofsd sets its capabilities, so it needs all capabilities of a user namespace.
	[ "$(id -u)" = 0 ] ||
		ids=(--unshare-user --uid 0 --gid 0 --cap-add ALL)
	bwrap "${ids[@]}" --unshare-pid --unshare-ipc --unshare-uts \
		--hostname daxmf --die-with-parent \
		--ro-bind "$root/usr" /usr --ro-bind "$root/etc" /etc \
		--ro-bind "$root/var" /var --symlink usr/bin /bin \
		--symlink usr/sbin /sbin --symlink usr/lib /lib \
		--symlink usr/lib64 /lib64 --proc /proc --dev /dev \
		--dev-bind-try /dev/kvm /dev/kvm --dir /sys --dir /mnt \
		--tmpfs /tmp --tmpfs /run --dir /root \
		--ro-bind "$top/scripts/cargo.toml" /root/.cargo/config.toml \
		--bind "$cache" "$cache" --bind "$top" "$top" --chdir "$top" \
		--clearenv --setenv PATH /usr/sbin:/usr/bin:/sbin:/bin \
		--setenv HOME /root --setenv LANG C.UTF-8 \
		--setenv XDG_CACHE_HOME "${cache%/daxmf}" --setenv TOOLCHAIN "$TOOLCHAIN" \
		--setenv TERM "${TERM:-dumb}" "${root_options[@]}" "$@"
}

# Set environment, flags and source from a command of rustc that kbuild has saved. Leave out the
# options for the files that rustc emits. Use eval, because the command is quoted for a shell.
# shellcheck disable=SC2034 # the caller uses them
read_command() # command file
{
	local words word last=''
	eval "words=($(sed -n '1s/^[^:]*:= //p' "$1" | sed 's/ ; .*//; s/\$\$/$/g'))"
	flags=() source='' environment=()
	for word in "${words[@]}"; do
		case $last,$word in
		*,rustc | *,--emit=* | *,--crate-type | --crate-type,* | \
			*,--out-dir | --out-dir,*) ;;
		*,[A-Z]*=*) environment+=("$word") ;;
		*,*.rs) source=$word ;;
		*) flags+=("$word") ;;
		esac
		last=$word
	done
}

# Stop process groups, which 'set -m' makes, with all their processes.
stop_groups() # leader...
{
	local pid
	for pid; do
		kill -- "-$pid" 2>/dev/null || true
	done
}
